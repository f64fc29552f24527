import type { Principal, ServicePrincipal } from '../verification/principal.js';
import { NO_CREDENTIALS, NOT_DECLARED, type Refusal } from './refusal.js';
import type { AccessRequirement, AllowedClient, PrincipalRequirement } from './requirement.js';

/** Whether a call may go on. */
export type AccessDecision =
  { readonly allowed: true } | { readonly allowed: false; readonly refusal: Refusal };

const ALLOWED: AccessDecision = { allowed: true };

/**
 * Decides whether a principal meets a handler's requirement.
 *
 * @param principal `undefined` when no token was presented.
 */
export function decideAccess(
  requirement: AccessRequirement,
  principal: Principal | undefined,
): AccessDecision {
  if (requirement.kind === 'public') return ALLOWED;
  if (requirement.kind === 'undeclared') return refuse(NOT_DECLARED);
  if (principal === undefined) return refuse(NO_CREDENTIALS);
  return decideForPrincipal(requirement, principal);
}

function decideForPrincipal(
  requirement: PrincipalRequirement,
  principal: Principal,
): AccessDecision {
  const { customers, services, scopes } = requirement;
  if (principal.kind === 'customer' && !customers) {
    return refuse(forbidden('KIND_NOT_ALLOWED', 'Only services may do this.'));
  }
  if (principal.kind === 'service' && services === 'none') {
    return refuse(forbidden('KIND_NOT_ALLOWED', 'Only customers may do this.'));
  }
  if (principal.kind === 'service' && !isListed(principal, services)) {
    return refuse(forbidden('CLIENT_NOT_ALLOWED', 'This service may not do this.'));
  }
  if (!scopes.every((scope) => principal.scopes.includes(scope))) {
    return refuse({ ...forbidden('SCOPE_MISSING', 'The access token lacks a scope.'), scopes });
  }
  return ALLOWED;
}

function isListed(
  { clientId, issuer }: ServicePrincipal,
  services: PrincipalRequirement['services'],
): boolean {
  if (typeof services === 'string') return services === 'all';
  return services.some((client: AllowedClient) =>
    typeof client === 'string'
      ? client === clientId
      : client.clientId === clientId && client.issuer === issuer,
  );
}

/** RFC 6750 §3.1: the request requires higher privileges than provided by the access token. */
function forbidden(reason: string, description: string): Refusal {
  return { status: 403, error: 'insufficient_scope', description, reason };
}

function refuse(refusal: Refusal): AccessDecision {
  return { allowed: false, refusal };
}
