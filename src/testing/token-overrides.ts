import type { TestClaims } from './provider-shapes.js';
import type { TokenFault } from './token-faults.js';

/** What is different in one token. */
export interface TokenOverrides {
  /** The person, or the id of a machine that some providers give besides the client's. Default `customer-1` or `machine-1`. */
  readonly subject?: string;
  /** The client. Default `billing-job` for service tokens, `web-shop` for customer tokens. */
  readonly clientId?: string;
  /** Where the provider puts them; WorkOS and Kubernetes have none. Default: none. */
  readonly scopes?: readonly string[];
  /** The `aud`. Default: the issuer's. */
  readonly audience?: string | readonly string[];
  /** From now until it expires, in seconds; negative for an expired one. Default 3600. */
  readonly expiresInSeconds?: number;
  /** Claims to replace or add, after everything above; `undefined` removes one. */
  readonly claims?: TestClaims;
  /** Members of the header to replace or add; `undefined` removes one. The signature stays that of the issuer's key. */
  readonly header?: TestClaims;
  /** Makes the token wrong, in one way. */
  readonly fault?: TokenFault;
}

/** Whose tokens they are, by default. */
export const DEFAULT_CLIENT_IDS = { service: 'billing-job', customer: 'web-shop' } as const;
/** Who they speak for, by default. */
export const DEFAULT_SUBJECTS = { service: 'machine-1', customer: 'customer-1' } as const;
/** How long they live, by default. */
export const DEFAULT_LIFE_SECONDS = 3600;
