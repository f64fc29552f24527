import { decodeBase64urlText } from './parsed-token.js';
import { isJsonObject, type JsonObject } from '../tokens/json.js';
import { BrokerError } from '../tokens/errors.js';
import { JUDGEMENT_STEPS, judgeToken, type JudgementStep } from './judge.js';
import { readVerifierOptions, type TokenVerifierOptions } from './verifier-options.js';
import type { Principal } from './principal.js';

/** Why a token is accepted or refused. Holds parts of the token's content, and never its text. */
export interface TokenExplanation {
  /** Whether {@link TokenVerifier.verify} accepts it. */
  readonly accepted: boolean;
  /** What it is; `undefined` when it was refused. */
  readonly kind: Principal['kind'] | undefined;
  /** The error's stable code; `undefined` when it was accepted. */
  readonly code: string | undefined;
  /** True when the same token may be accepted later: the keys were not available. */
  readonly isRetryable: boolean;
  /** The steps in order, up to the first that failed. */
  readonly steps: readonly ExplainedStep[];
  /** The rules that distinguish customers from services, with their answers; empty when an earlier step failed. */
  readonly rules: readonly string[];
  /** What the token says about itself, well-formed or not. Nothing of it is proven unless `accepted`. */
  readonly seen: TokenSight;
}

/** One step of a judgement, and its outcome. */
export interface ExplainedStep {
  readonly step: JudgementStep;
  readonly outcome: 'ok' | 'failed';
  /** Plain words. */
  readonly words: string;
}

/**
 * What a token says about itself, read leniently for display. A member that is missing or of an unusual type is
 * `undefined`. Texts are shortened, and control characters replaced, so that they can be printed.
 */
export interface TokenSight {
  readonly alg: string | undefined;
  readonly typ: string | undefined;
  readonly kid: string | undefined;
  readonly iss: string | undefined;
  readonly aud: readonly string[] | undefined;
  /** `exp` in ISO 8601, UTC. */
  readonly expiresAt: string | undefined;
  /** Seconds until `exp`; negative when it has passed. */
  readonly remainingSeconds: number | undefined;
}

/**
 * Explains what a token is and why it is accepted or refused, through the same path as {@link TokenVerifier.verify}.
 *
 * @throws {VerifierConfigError} when an option is missing or wrong. A refused token is not an error here.
 *
 * @example
 * ```ts
 * import { explainToken } from 'service-token-kit';
 *
 * const { accepted, steps } = await explainToken(token, options);
 * for (const { step, outcome, words } of steps) console.log(step, outcome, words);
 * ```
 */
export async function explainToken(
  token: unknown,
  options: TokenVerifierOptions,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<TokenExplanation> {
  const rules = readVerifierOptions(options);
  const steps: ExplainedStep[] = [];
  let asked: readonly string[] = [];
  const seen = peekToken(token, rules.clock.now());
  try {
    const { verified } = await judgeToken(token, rules, signal, {
      passed: (step, words) => steps.push({ step, outcome: 'ok', words }),
      classified: (explanation) => (asked = explanation),
    });
    return {
      accepted: true,
      kind: verified.principal.kind,
      code: undefined,
      isRetryable: false,
      steps,
      rules: asked,
      seen,
    };
  } catch (error) {
    const failed = JUDGEMENT_STEPS[steps.length];
    if (!(error instanceof BrokerError) || failed === undefined) throw error;
    steps.push({ step: failed, outcome: 'failed', words: error.message });
    return {
      accepted: false,
      kind: undefined,
      code: error.code,
      isRetryable: error.kind === 'retry',
      steps,
      rules: asked,
      seen,
    };
  }
}

const MAX_TEXT_LENGTH = 200;
const MAX_AUDIENCES = 20;
/** Far above what a verifier accepts, so that a token that is refused for its length is still shown. */
const MAX_LENGTH = 1_048_576;
/** The last instant a `Date` can hold, in seconds. */
const MAX_INSTANT = 8_640_000_000_000;

/**
 * Reads what can be read of a token, accepted or not. For display only: nothing is checked.
 *
 * @param now milliseconds since the Unix epoch.
 * @param maxLength longer tokens are not read at all, in characters. Default 1048576.
 */
export function peekToken(token: unknown, now: number, maxLength = MAX_LENGTH): TokenSight {
  const isReadable = typeof token === 'string' && token.length <= maxLength;
  const [protectedPart = '', payloadPart = ''] = isReadable ? token.trim().split('.') : [];
  const header = peekPart(protectedPart);
  const payload = peekPart(payloadPart);
  const exp = payload['exp'];
  const expiry =
    typeof exp === 'number' && Math.abs(exp) <= MAX_INSTANT ? Math.round(exp * 1000) : undefined;
  return {
    alg: printable(header['alg']),
    typ: printable(header['typ']),
    kid: printable(header['kid']),
    iss: printable(payload['iss']),
    aud: audiences(payload['aud']),
    expiresAt: expiry === undefined ? undefined : new Date(expiry).toISOString(),
    remainingSeconds: expiry === undefined ? undefined : Math.floor((expiry - now) / 1000),
  };
}

function peekPart(encoded: string): JsonObject {
  const text = decodeBase64urlText(encoded);
  if (text === undefined) return {};
  try {
    const value: unknown = JSON.parse(text);
    return isJsonObject(value) ? value : {};
  } catch {
    // The judgement says that the part is not JSON.
    return {};
  }
}

function audiences(value: unknown): readonly string[] | undefined {
  if (value === undefined) return undefined;
  const list: readonly unknown[] = Array.isArray(value) ? value : [value];
  const texts = list.slice(0, MAX_AUDIENCES).map(printable);
  return texts.filter((text) => text !== undefined);
}

function printable(value: unknown): string | undefined {
  if (typeof value !== 'string') return undefined;
  // Control and format characters could move the cursor or turn the line around on a terminal.
  const text = value.replace(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, '\u{fffd}');
  return text.length > MAX_TEXT_LENGTH ? `${text.slice(0, MAX_TEXT_LENGTH)}…` : text;
}
