import {
  MALFORMED_CREDENTIALS,
  NO_CREDENTIALS,
  NOT_DECLARED,
  refusalOf,
  type PrincipalRequirement,
  type Refusal,
} from '../verification/bearer-access.js';
import type { Principal } from '../verification/principal.js';
import type { TokenVerifier } from '../verification/verifier.js';
import { decideAccess } from './access.js';
import {
  readCredentials,
  unreadToken,
  type CredentialsOptions,
  type Transport,
} from './call-credentials.js';
import type { AccessRequirement } from './declarations.js';

/** What comes of a call: open to everybody, admitted for a principal, or refused. */
export type CallVerdict =
  | { readonly kind: 'open' }
  | { readonly kind: 'admitted'; readonly principal: Principal; readonly token: string }
  | {
      readonly kind: 'refused';
      readonly refusal: Refusal;
      /** What the verifier or a check of the claims threw. */
      readonly error?: unknown;
    };

/** What calls are judged by, besides the requirement. */
interface JudgementRules {
  readonly verifier: TokenVerifier;
  readonly options: CredentialsOptions;
}

const OPEN: CallVerdict = { kind: 'open' };

/**
 * Judges one call: its credentials, its token, and whether that allows what is called. The one path for NestJS, Express and
 * Fastify.
 *
 * @param args of Nest's execution context; over HTTP the request is the first.
 * @returns at once for a token that is remembered: most calls of a busy service.
 * @throws (or rejects with) an error that says nothing about the call.
 */
export function judgeCall(
  rules: JudgementRules,
  requirement: AccessRequirement,
  transport: Transport,
  args: readonly unknown[],
): CallVerdict | Promise<CallVerdict> {
  if (requirement.kind === 'public') return OPEN;
  if (requirement.kind === 'undeclared') return { kind: 'refused', refusal: NOT_DECLARED };
  const token = unreadToken(transport, args, rules.options);
  const remembered = token === undefined ? undefined : rules.verifier.peek?.(token);
  return token === undefined || remembered === undefined
    ? verifyCall(rules, requirement, transport, args)
    : conclude(requirement, token, remembered.principal);
}

async function verifyCall(
  { verifier, options }: JudgementRules,
  requirement: PrincipalRequirement,
  transport: Transport,
  args: readonly unknown[],
): Promise<CallVerdict> {
  const credentials = readCredentials(transport, args, options);
  if (credentials.kind === 'none') return { kind: 'refused', refusal: NO_CREDENTIALS };
  if (credentials.kind === 'malformed') return { kind: 'refused', refusal: MALFORMED_CREDENTIALS };
  const { token } = credentials;
  let principal: Principal;
  try {
    ({ principal } = await verifier.verify(token));
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal === undefined) throw error;
    return { kind: 'refused', refusal, error };
  }
  return conclude(requirement, token, principal);
}

function conclude(
  requirement: PrincipalRequirement,
  token: string,
  principal: Principal,
): CallVerdict {
  const decision = decideAccess(requirement, principal);
  if (decision.allowed) return { kind: 'admitted', principal, token };
  return { kind: 'refused', refusal: decision.refusal, error: decision.error };
}
