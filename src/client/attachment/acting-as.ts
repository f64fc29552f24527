/** On whose behalf a request is made: the service's own, or that of the customer in the call context. */
export type ActingAs = 'service' | 'customer';

/** Says on whose behalf a request of axios is made, whose own types know no `as`. */
export interface Acting<As extends ActingAs> {
  readonly as: As;
  /** Never set. TypeScript takes an object for a mistake that has no name in common with axios' options. */
  readonly timeout?: number;
}

/**
 * For the configuration of a request of axios: it is made as the service itself, also when a customer is in the call
 * context. With `fetch`, write `as: 'service'`.
 *
 * `http(url, config)` writes into what it is given, and this cannot be written to: spread it there.
 *
 * @example
 * ```ts
 * import { asService } from 'service-token-broker/client';
 *
 * await http.get('https://ledger.internal/entries', asService);
 * await http.post('https://ledger.internal/entries', entry, { ...asService, timeout: 2_000 });
 * ```
 */
export const asService: Acting<'service'> = Object.freeze({ as: 'service' });

/**
 * For the configuration of a request of axios: it is made on behalf of the customer in the call context, and is an error
 * when there is none, instead of going out as the service. With `fetch`, write `as: 'customer'`.
 *
 * @example
 * ```ts
 * import { asCustomer } from 'service-token-broker/client';
 *
 * await http.get('https://billing.internal/invoices', asCustomer);
 * ```
 */
export const asCustomer: Acting<'customer'> = Object.freeze({ as: 'customer' });
