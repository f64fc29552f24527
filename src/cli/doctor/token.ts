import { coverageOf } from '../../composition/coverage.js';
import { oneLine } from '../../tokens/one-line.js';
import { worstGap } from '../../rotation/worst-gap.js';
import {
  explainToken,
  type TokenExplanation,
  type TokenVerifierOptions,
} from '../../verification/index.js';
import { span } from '../output.js';
import { adviceFor } from '../verify-report.js';
import { failed, ok, skipped, warning, type Finding } from './examination.js';
import type { ExaminedProvider } from './provider.js';
import type { ExaminedTokenSecret } from './secrets.js';
import type { Patient } from './store.js';

/**
 * Mints a token and verifies it the way receivers do. It is not kept, so that what it is refused for is told here.
 *
 * @param isWanted false: nothing is asked of the provider, which counts every token it mints.
 * @throws {BrokerError}
 */
export async function examineMint(
  { source, clock, config, verifierOptions }: Patient,
  { settings }: ExaminedProvider,
  isWanted: boolean,
): Promise<Finding> {
  if (!isWanted) {
    return skipped('No token was minted, because the provider counts each one.', 'To try: --mint');
  }
  const token = await source.mint();
  const options = verifierOptions(settings);
  const explanation = await explainToken(token.accessToken, options);
  const judged = judgeExplanation(explanation, 'minted', options);
  if (judged.state === 'failed') return judged;
  const life = token.expiresAt - clock.now();
  const { minRemainingSeconds } = config.rotation;
  const minted = `The provider mints tokens that live ${span(life)}`;
  return life > minRemainingSeconds * 1000
    ? ok(`${minted}, and receivers accept them. This one was not kept.`, judged.action)
    : failed(
        `${minted}, and more than ${minRemainingSeconds} s are needed.`,
        "Raise the token lifetime in the provider's settings, or lower BROKER_MIN_REMAINING_SECONDS.",
      );
}

/** Verifies the current service token as a receiver does. @throws {BrokerError} */
export async function examineClassification(
  { verifierOptions }: Patient,
  { settings }: ExaminedProvider,
  { current }: ExaminedTokenSecret,
): Promise<Finding> {
  if (current === undefined) return skipped('There is no service token to verify.');
  const options = verifierOptions(settings);
  const explanation = await explainToken(current.token.accessToken, options);
  return judgeExplanation(explanation, 'current', options);
}

/**
 * Whether receivers take the token for a service's. Pure.
 *
 * @param options the rules it was held to; with them the finding says what receivers need.
 */
export function judgeExplanation(
  explanation: TokenExplanation,
  which: 'current' | 'minted' = 'current',
  options?: TokenVerifierOptions,
): Finding {
  const { accepted, kind, code, steps } = explanation;
  const advice = options && adviceFor(explanation, options);
  if (accepted && kind === 'service') {
    return ok(`Receivers accept the ${which} token, as a service token.`, advice);
  }
  const details = tokenDetails(explanation);
  if (accepted) {
    const action = 'Check BROKER_PROFILE, and which client the provider minted it for.';
    return {
      ...failed(`Receivers take the ${which} token for a customer token.`, action),
      details,
    };
  }
  const last = steps.at(-1);
  return {
    ...failed(
      `Receivers refuse the ${which} token at "${last?.step}": ${oneLine(last?.words ?? '')}`,
      advice,
    ),
    details,
    ...(code !== undefined && { code }),
  };
}

/** What the broker's own token says of itself, and the rules it was held to. */
function tokenDetails({ seen, rules }: TokenExplanation): readonly string[] {
  const { iss = 'none', aud = [], typ = 'none' } = seen;
  return [
    `the token's iss: ${iss}`,
    `the token's aud: ${aud.length === 0 ? 'none' : aud.join(', ')}`,
    `the token's typ: ${typ}`,
    ...rules.map((rule) => `rule ${rule}`),
  ];
}

/** Whether the current token outlives the worst gap between two rotations. */
export function examineCoverage(
  { config, slots, clock }: Patient,
  { current, description }: ExaminedTokenSecret,
): Finding {
  if (current === undefined) return skipped('There is no service token to measure.');
  const gap = worstGap(description, slots, clock.now());
  return judgeCoverage(gap && coverageOf(current.token, gap, config));
}

/** Pure. @param coverage `undefined` when the schedule cannot be read. */
export function judgeCoverage(coverage: ReturnType<typeof coverageOf> | undefined): Finding {
  if (coverage === undefined) {
    return warning(
      "Secrets Manager's schedule cannot be read here, so that the worst gap is not known.",
      'Compare it with the life of a token by hand.',
    );
  }
  return coverage.covered ? ok(coverage.explanation) : warning(coverage.explanation);
}
