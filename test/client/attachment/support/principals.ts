import { CallContext, type Principal } from '../../../../src/client/index.js';
import { CANARIES } from '../../../support/canaries.js';

const BASE = { issuer: 'https://issuer.example/', scopes: [], actor: undefined, claims: {} };

export const CUSTOMER: Principal = {
  ...BASE,
  kind: 'customer',
  subject: 'ann',
  clientId: 'web',
};
export const SERVICE: Principal = {
  ...BASE,
  kind: 'service',
  subject: 'orders',
  clientId: 'orders',
};

/** A token that must never be seen anywhere but in the header that carries it. */
export const CUSTOMER_TOKEN = CANARIES.jwt;
export const CUSTOMER_CALL = new CallContext(CUSTOMER, CUSTOMER_TOKEN);

/** What a service that called us presented: never passed on. */
export const RECEIVED_SERVICE_TOKEN = 'received.service.token';
export const SERVICE_CALL = new CallContext(SERVICE, RECEIVED_SERVICE_TOKEN);
