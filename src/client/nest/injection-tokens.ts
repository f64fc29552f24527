/** Nest's injection token for the `ServiceTokenSource` of `ServiceClientModule`, for health and metrics. */
export const SERVICE_TOKEN_SOURCE = Symbol('SERVICE_TOKEN_SOURCE');

/** Nest's injection token for the `AuthorizedFetch` of `ServiceClientModule`. */
export const AUTHORIZED_FETCH = Symbol('AUTHORIZED_FETCH');
