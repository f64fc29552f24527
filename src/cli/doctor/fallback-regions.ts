import type { BrokerConfig } from '../../config/broker-config.js';
import { idInRegion } from '../../secrets/aws/fallback-store.js';
import { errorCode } from '../../tokens/errors.js';
import { failed, ok, skipped, warning, type Finding } from './examination.js';
import type { ExaminedTokenSecret } from './secrets.js';

/** What a Region's replica of the token secret answered. */
export interface RegionAnswer {
  readonly region: string;
  /** The version that is current there, or the code of the error. */
  readonly answer: { readonly versionId: string } | { readonly code: string };
}

/** Reads the token secret's replica in every fallback Region. */
export async function examineFallbackRegions(
  { secrets }: BrokerConfig,
  { current }: ExaminedTokenSecret,
): Promise<Finding> {
  const { awsFallbackRegions, tokenSecretId } = secrets;
  if (awsFallbackRegions.length === 0) return skipped('None is configured.');
  const { createAwsStore } = await import('../../secrets/aws/aws-store.js');
  const answers: RegionAnswer[] = [];
  for (const region of awsFallbackRegions) {
    const store = createAwsStore({ region });
    try {
      const { versionId } = await store.read(idInRegion(tokenSecretId, region));
      answers.push({ region, answer: { versionId } });
    } catch (error) {
      answers.push({ region, answer: { code: errorCode(error) } });
    } finally {
      await store.close();
    }
  }
  return judgeFallbackRegions(answers, current?.versionId);
}

/** Whether the replicas can stand in. Pure. @param currentId what is current in the own Region, if anything is. */
export function judgeFallbackRegions(
  answers: readonly RegionAnswer[],
  currentId: string | undefined,
): Finding {
  const broken = answers.flatMap(({ region, answer }) =>
    'code' in answer ? [`${region} (${answer.code})`] : [],
  );
  if (broken.length > 0) {
    return failed(
      `The token secret cannot be read in ${broken.join(', ')}.`,
      'Replicate the secrets there (aws secretsmanager replicate-secret-to-regions), and allow reading them.',
    );
  }
  const behind = answers.flatMap(({ region, answer }) =>
    'versionId' in answer && answer.versionId !== currentId ? [region] : [],
  );
  if (behind.length > 0) {
    return warning(
      `Another version is current in ${behind.join(', ')}.`,
      'After a rotation that passes within seconds; if it lasts, see "aws secretsmanager describe-secret".',
    );
  }
  return ok(`The same version is current in ${answers.map(({ region }) => region).join(', ')}.`);
}
