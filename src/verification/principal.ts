import type { JsonObject } from '../tokens/json.js';

/** Who acts for the principal (RFC 8693 §4.1). It never changes the kind. */
export interface Actor {
  /** The actor's `sub`. */
  readonly subject: string;
  /** The actor's `iss`, when given. */
  readonly issuer: string | undefined;
  /** The previous actor of a chain; RFC 8693 advises against decisions based on it. */
  readonly actor: Actor | undefined;
}

interface PrincipalBase {
  /** The issuer that vouches for it, as configured. */
  readonly issuer: string;
  /** What the token allows, without duplicates, in the token's order. Which claims count is up to the profile. */
  readonly scopes: readonly string[];
  /** Who acts for the principal; `undefined` without delegation. */
  readonly actor: Actor | undefined;
  /** All claims of the token, as they came. */
  readonly claims: JsonObject;
}

/** A person, on whose behalf a client calls. */
export interface CustomerPrincipal extends PrincipalBase {
  readonly kind: 'customer';
  /** The person's `sub`. Unique only together with the issuer. */
  readonly subject: string;
  /** The client the person uses, where the provider names it. */
  readonly clientId: string | undefined;
}

/** A service that calls for itself. */
export interface ServicePrincipal extends PrincipalBase {
  readonly kind: 'service';
  /** The token's `sub`; the client id where the provider gives no `sub`. */
  readonly subject: string;
  /** The id the provider knows the service by. */
  readonly clientId: string;
}

/** Who a verified token speaks for. Narrow it by `kind`. */
export type Principal = CustomerPrincipal | ServicePrincipal;
