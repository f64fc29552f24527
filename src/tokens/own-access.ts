/**
 * Metadata on a Nest controller that decides by itself who may call it: the broker's own, which ask for a peer's
 * credentials or are open on purpose. The guard of an application that the broker runs in leaves them alone.
 */
export const DECIDES_ACCESS_ITSELF = Symbol.for('service-token-broker/decides-access-itself');
