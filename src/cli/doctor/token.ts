import { coverageOf } from '../../composition/coverage.js';
import { worstGap } from '../../rotation/worst-gap.js';
import { explainToken, type TokenExplanation } from '../../verification/index.js';
import { span } from '../output.js';
import { failed, ok, oneLine, skipped, warning, type Finding } from './examination.js';
import type { ExaminedProvider } from './provider.js';
import type { ExaminedTokenSecret } from './secrets.js';
import type { Patient } from './store.js';

/**
 * Mints a token and verifies it the way receivers do. It is not kept.
 *
 * @param isWanted false: nothing is asked of the provider, which counts every token it mints.
 * @throws {BrokerError}
 */
export async function examineMint(
  { source, clock, config }: Patient,
  isWanted: boolean,
): Promise<Finding> {
  if (!isWanted) {
    return skipped('No token was minted, because the provider counts each one.', 'To try: --mint');
  }
  const token = await source.mint();
  await source.verify(token);
  const life = token.expiresAt - clock.now();
  const { minRemainingSeconds } = config.rotation;
  const minted = `The provider mints tokens that live ${span(life)}`;
  return life > minRemainingSeconds * 1000
    ? ok(`${minted}, and receivers accept them. This one was not kept.`)
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
  return judgeExplanation(await explainToken(current.token.accessToken, verifierOptions(settings)));
}

/** Whether receivers take the token for a service's. Pure. */
export function judgeExplanation({ accepted, kind, code, steps }: TokenExplanation): Finding {
  if (accepted && kind === 'service') {
    return ok('Receivers accept the current token, as a service token.');
  }
  if (accepted) {
    return failed(
      'Receivers take the current token for a customer token.',
      'Check BROKER_PROFILE, and which client the provider minted it for.',
    );
  }
  const last = steps.at(-1);
  return {
    ...failed(
      `Receivers refuse the current token at "${last?.step}": ${oneLine(last?.words ?? '')}`,
      'More: service-token-broker status --show-token, and verify',
    ),
    ...(code !== undefined && { code }),
  };
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
