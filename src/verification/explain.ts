import { BrokerError } from '../tokens/errors.js';
import { JUDGEMENT_STEPS, judgeToken, type JudgementStep } from './judge.js';
import { readVerifierOptions, type TokenVerifierOptions } from './options.js';
import { peekToken, type TokenSight } from './peek.js';
import type { Principal } from './principal.js';

/** One step of a judgement, and what came of it. */
export interface ExplainedStep {
  readonly step: JudgementStep;
  readonly outcome: 'ok' | 'failed';
  /** Plain words. */
  readonly words: string;
}

/** Why a token is accepted or refused. Holds parts of the token's content, and never its text. */
export interface TokenExplanation {
  /** Whether {@link TokenVerifier.verify} accepts it. */
  readonly accepted: boolean;
  /** What it is; `undefined` when it was refused. */
  readonly kind: Principal['kind'] | undefined;
  /** The error's stable code; `undefined` when it was accepted. */
  readonly code: string | undefined;
  /** True when the same token may be accepted later: the keys could not be had. */
  readonly isRetryable: boolean;
  /** The steps in order, up to the first that failed. */
  readonly steps: readonly ExplainedStep[];
  /** The rules that were asked to tell customer and service apart, and their answers; empty when it did not come to that. */
  readonly rules: readonly string[];
  /** What was seen in the token, well-formed or not. Nothing of it is proven unless `accepted`. */
  readonly seen: TokenSight;
}

/**
 * Explains what a token is and why it is accepted or refused, through the same path as {@link TokenVerifier.verify}.
 *
 * @throws {VerifierConfigError} when an option is missing or wrong. A refused token is not an error here.
 *
 * @example
 * ```ts
 * import { explainToken } from 'service-token-broker';
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
