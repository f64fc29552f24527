import type { CommandContext } from '../commands.js';
import { show } from '../output.js';
import { examineClock } from './clock-skew.js';
import { examineConfiguration } from './configuration.js';
import { judgeEncryption } from './encryption.js';
import { Examination, type Outcome } from './examination.js';
import { examineFallbackRegions } from './fallback-regions.js';
import { examineKeys, examineProvider } from './provider.js';
import { isHealthy, reportJson, reportLines } from './report.js';
import { examinePending, judgeFunction, judgeRotation } from './rotation.js';
import { examineCredentials, examinePeers, examineTokenSecret } from './secrets.js';
import { examineStore, type Patient } from './store.js';
import { examineClassification, examineCoverage, examineMint } from './token.js';

/**
 * `doctor`: checks, in order, everything that a rotation and a peer depend on. It changes nothing.
 *
 * @param mint also mints a token on trial.
 * @returns true when nothing failed.
 */
export async function doctorCommand(context: CommandContext, mint: boolean): Promise<boolean> {
  const examination = new Examination();
  await examine(examination, context.env, mint);
  const { reports } = examination;
  show(context.output, reportJson(reports), reportLines(reports));
  return isHealthy(reports);
}

async function examine(
  examination: Examination,
  env: NodeJS.ProcessEnv,
  mint: boolean,
): Promise<void> {
  const config = await examination.check('configuration', [], () => examineConfiguration(env));
  const patient = await examination.check('credentials', [config], examineStore);
  try {
    await examineBroker(examination, patient, mint);
  } finally {
    if ('value' in patient) await patient.value.close();
  }
}

async function examineBroker(
  examination: Examination,
  patient: Outcome<Patient>,
  mint: boolean,
): Promise<void> {
  const credentials = await examination.check('credentials secret', [patient], examineCredentials);
  const token = await examination.check('token secret', [patient], examineTokenSecret);
  const peers = await examination.check('peers secret', [patient], examinePeers);
  await examination.check(
    'encryption',
    [credentials, token, peers],
    (ofCredentials, ofToken, ofPeers) =>
      judgeEncryption({ credentials: ofCredentials, token: ofToken, peers: ofPeers }),
  );
  await examination.check('fallback Regions', [patient, token], ({ config }, secret) =>
    examineFallbackRegions(config, secret),
  );
  await examination.check(
    'rotation',
    [patient, token],
    ({ config, slots, clock }, { description }) =>
      judgeRotation(description, config.rotation, slots, clock.now()),
  );
  await examination.check('rotation function', [patient, token], ({ clock }, { description }) =>
    judgeFunction(description, clock.now()),
  );
  await examination.check('pending version', [patient, token], (who, { description }) =>
    examinePending(who, description),
  );
  const provider = await examination.check('provider', [patient, credentials], examineProvider);
  await examination.check('trial mint', [patient, provider], (who, asked) =>
    examineMint(who, asked, mint),
  );
  await examination.check('provider keys', [patient, provider], examineKeys);
  await examination.check('classification', [patient, provider, token], examineClassification);
  await examination.check('coverage', [patient, token], examineCoverage);
  await examination.check('clock', [patient, provider], examineClock);
}
