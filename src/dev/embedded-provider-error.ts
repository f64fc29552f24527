import { BrokerError, type BrokerErrorOptions, type ErrorKind } from '../tokens/errors.js';

/** Every way in which the embedded provider fails to start. */
const KINDS = {
  /** Another program listens on the port. */
  PORT_IN_USE: 'misconfigured',
  /** The host is not one of this machine's loopback addresses, or listening fails otherwise. */
  DEV_PROVIDER_ADDRESS_INVALID: 'misconfigured',
  /** the optional package `oidc-provider` is missing or does not load. */
  DEV_PROVIDER_NOT_INSTALLED: 'misconfigured',
  /** The key file cannot be read, written or understood. */
  DEV_PROVIDER_KEY_INVALID: 'misconfigured',
} as const satisfies Record<string, ErrorKind>;

/** The stable codes of {@link EmbeddedProviderError}. */
export type EmbeddedProviderErrorCode = keyof typeof KINDS;

/** The embedded provider of dev mode cannot start. */
export class EmbeddedProviderError extends BrokerError {
  declare readonly code: EmbeddedProviderErrorCode;

  constructor(code: EmbeddedProviderErrorCode, message: string, options: BrokerErrorOptions = {}) {
    super(code, KINDS[code], message, options);
  }
}
