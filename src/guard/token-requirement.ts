import { isJsonObject } from '../tokens/json.js';
import type { AllowedClient, PrincipalRequirement } from '../verification/bearer-access.js';
import type { Principal } from '../verification/principal.js';
import {
  readClaimCheck,
  readRequiredClaims,
  type ClaimCheck,
  type RequiredClaims,
} from '../verification/required-claims.js';
import { GuardConfigError } from './declarations.js';

/** Who may call a route of Express or Fastify: everything that is said must hold. */
export interface TokenRequirement {
  /** Which kinds of token: one, or both. */
  readonly allow: CallerKind | readonly CallerKind[];
  /**
   * The only services that may call, by client id, or `{ clientId, issuer }` with several issuers. Default: every service. Has
   * no effect on customers.
   */
  readonly clients?: readonly AllowedClient[];
  /** Scopes that the token must have: all of them. */
  readonly scopes?: readonly string[];
  /** What its claims must be: all of it. */
  readonly claims?: RequiredClaims;
  /** A check of your own. `words` say what it requires, for logs; they are not sent to the caller. */
  readonly check?: { readonly holds: ClaimCheck; readonly words: string };
}

type CallerKind = Principal['kind'];

const MEMBERS: ReadonlySet<string> = new Set<keyof TokenRequirement>([
  'allow',
  'clients',
  'scopes',
  'claims',
  'check',
]);

/**
 * Reads who may call a route.
 *
 * @param at where it stands, for messages.
 * @throws {GuardConfigError} for a member that is unknown, missing or empty.
 */
export function readTokenRequirement(at: string, given: unknown): PrincipalRequirement {
  if (!isJsonObject(given)) {
    throw new GuardConfigError(`${at} takes an object such as { allow: 'service' }.`);
  }
  const strange = Object.keys(given).find((name) => !MEMBERS.has(name));
  if (strange !== undefined) {
    throw new GuardConfigError(
      `${at} has an unknown member "${strange}". There are ${[...MEMBERS].join(', ')}.`,
    );
  }
  const { allow, clients, scopes, claims, check } = given;
  const kinds: readonly unknown[] = Array.isArray(allow) ? allow : [allow];
  if (kinds.length === 0 || !kinds.every((kind) => kind === 'customer' || kind === 'service')) {
    throw new GuardConfigError(
      `${at}: "allow" must be 'customer', 'service', or a list of the two.`,
    );
  }
  const services = kinds.includes('service');
  if (clients !== undefined && !services) {
    throw new GuardConfigError(`${at}: "clients" has no effect without 'service' in "allow".`);
  }
  const required = [
    ...(claims === undefined ? [] : requirementsOf(`${at}: "claims"`, readRequiredClaims(claims))),
    ...(check === undefined ? [] : requirementsOf(`${at}: "check"`, readCheck(check))),
  ];
  return {
    kind: 'principal',
    customers: kinds.includes('customer'),
    services: !services
      ? 'none'
      : clients === undefined
        ? 'all'
        : readClients(`${at}: "clients"`, clients),
    scopes: scopes === undefined ? [] : readScopeNames(`${at}: "scopes"`, scopes),
    ...(required.length > 0 && { claims: required }),
  };
}

function readCheck(check: unknown): ReturnType<typeof readClaimCheck> {
  return isJsonObject(check)
    ? readClaimCheck(check['holds'], check['words'])
    : { fault: 'it must be { holds, words }' };
}

/** @throws {GuardConfigError} when the reading has a fault. */
export function requirementsOf(
  at: string,
  reading: ReturnType<typeof readRequiredClaims>,
): Extract<typeof reading, { requirements: unknown }>['requirements'] {
  if ('fault' in reading) throw new GuardConfigError(`${at}: ${reading.fault}.`);
  return reading.requirements;
}

/** @throws {GuardConfigError} when a client is empty or the list is. */
export function readClients(at: string, list: unknown): readonly AllowedClient[] {
  if (Array.isArray(list) && list.length > 0) {
    const clients = list.map(readClient);
    if (!clients.includes(undefined)) return clients as AllowedClient[];
  }
  throw new GuardConfigError(
    `${at} takes client ids, or { clientId, issuer }, none of them empty.`,
  );
}

function readClient(client: unknown): AllowedClient | undefined {
  if (isText(client)) return client;
  const { clientId, issuer } = (client ?? {}) as { clientId?: unknown; issuer?: unknown };
  return isText(clientId) && isText(issuer) ? { clientId, issuer } : undefined;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value !== '';
}

/** The scopes of RFC 6749 §3.3. */
const SCOPE_TOKEN = /^[\x21\x23-\x5b\x5d-\x7e]+$/;

/** @throws {GuardConfigError} for no scope, and for one that RFC 6749 §3.3 does not allow. */
export function readScopeNames(at: string, scopes: unknown): readonly string[] {
  const isNames =
    Array.isArray(scopes) &&
    scopes.length > 0 &&
    scopes.every((scope) => typeof scope === 'string' && SCOPE_TOKEN.test(scope));
  if (isNames) return [...scopes];
  throw new GuardConfigError(
    `${at} takes at least one scope, each a text of its own without spaces (RFC 6749 §3.3).`,
  );
}
