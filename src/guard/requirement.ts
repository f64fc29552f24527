/** A client that `AllowService` names: its id, or its id together with the issuer that must vouch for it. */
export type AllowedClient = string | { readonly clientId: string; readonly issuer: string };

/** What one decorator says. */
export type AccessDeclaration =
  | { readonly says: 'public' }
  | { readonly says: 'customer' }
  /** `clients` is `undefined` for every service. */
  | { readonly says: 'service'; readonly clients: readonly AllowedClient[] | undefined }
  | { readonly says: 'scopes'; readonly scopes: readonly string[] };

/** Who may call a handler. */
export type AccessRequirement =
  /** Everybody; no token is read. */
  | { readonly kind: 'public' }
  /** Nobody: no decorator says who. */
  | { readonly kind: 'undeclared' }
  /** Whoever presents a token of one of these kinds, with all of these scopes. */
  | PrincipalRequirement;

/** What a token must be for a handler. */
export interface PrincipalRequirement {
  readonly kind: 'principal';
  readonly customers: boolean;
  /** `all` services, none of them, or those on the list. */
  readonly services: 'all' | 'none' | readonly AllowedClient[];
  readonly scopes: readonly string[];
}

/** A requirement, or why the declarations contradict one another. */
export type RequirementReading =
  { readonly requirement: AccessRequirement } | { readonly contradiction: string };

type Who = Exclude<AccessDeclaration, { says: 'scopes' }>;

/**
 * Makes one requirement of what stands on a handler and on its class.
 *
 * - Who may call: the handler's decorators, when it has any that say so, and otherwise the class's. They are never mixed.
 * - Scopes add up: those of the class and those of the handler are all required.
 * - `Public()` on a handler lifts what the class asks for, scopes included.
 */
export function readRequirement(
  onHandler: readonly AccessDeclaration[],
  onClass: readonly AccessDeclaration[],
): RequirementReading {
  const handlerWho = onHandler.filter(isWho);
  const isLifted = handlerWho.some(({ says }) => says === 'public');
  const who = handlerWho.length > 0 ? handlerWho : onClass.filter(isWho);
  const scopes = [...new Set([...(isLifted ? [] : scopesOf(onClass)), ...scopesOf(onHandler)])];
  const contradiction = contradictionIn(who, scopes);
  if (contradiction !== undefined) return { contradiction };
  if (who.length === 0) return { requirement: { kind: 'undeclared' } };
  if (who.some(({ says }) => says === 'public')) return { requirement: { kind: 'public' } };
  const service = who.find((one) => one.says === 'service');
  return {
    requirement: {
      kind: 'principal',
      customers: who.some(({ says }) => says === 'customer'),
      services: service === undefined ? 'none' : (service.clients ?? 'all'),
      scopes,
    },
  };
}

function contradictionIn(who: readonly Who[], scopes: readonly string[]): string | undefined {
  const isPublic = who.some(({ says }) => says === 'public');
  if (isPublic && who.some(({ says }) => says !== 'public')) {
    return 'Public() stands beside AllowCustomer() or AllowService(). Keep one of them.';
  }
  if (isPublic && scopes.length > 0) {
    return 'RequireScopes() applies to a public handler, for which no token is read. Remove Public(), or the scopes.';
  }
  if (who.filter(({ says }) => says === 'service').length > 1) {
    return 'AllowService() stands twice. Name all clients in one.';
  }
  if (who.length === 0 && scopes.length > 0) {
    return 'RequireScopes() does not say who may call. Add AllowCustomer(), AllowService(), or both.';
  }
  return undefined;
}

function isWho(declaration: AccessDeclaration): declaration is Who {
  return declaration.says !== 'scopes';
}

function scopesOf(declarations: readonly AccessDeclaration[]): readonly string[] {
  return declarations.flatMap((one) => (one.says === 'scopes' ? one.scopes : []));
}
