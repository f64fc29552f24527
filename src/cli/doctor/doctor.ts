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
 * `doctor`: checks, side by side and within ten seconds, everything that a rotation and a peer depend on. It changes nothing.
 *
 * @param mint also mints a token on trial.
 * @returns true when nothing failed.
 */
export async function doctorCommand(context: CommandContext, mint: boolean): Promise<boolean> {
  const examination = new Examination();
  const close = examine(examination, context.env, mint);
  const reports = await examination.reports();
  await close();
  show(context.output, reportJson(reports), reportLines(reports));
  return isHealthy(reports);
}

/** Begins every check. @returns what closes the store. */
function examine(
  examination: Examination,
  env: NodeJS.ProcessEnv,
  mint: boolean,
): () => Promise<void> {
  const config = examination.check('configuration', [], () => examineConfiguration(env));
  const patient = examination.check('credentials', [config], examineStore);
  examineBroker(examination, patient, mint);
  return async () => {
    const opened = await patient;
    if ('value' in opened) await opened.value.close();
  };
}

function examineBroker(
  examination: Examination,
  patient: Promise<Outcome<Patient>>,
  mint: boolean,
): void {
  const credentials = examination.check('credentials secret', [patient], examineCredentials);
  const token = examination.check('token secret', [patient], examineTokenSecret);
  const peers = examination.check('peers secret', [patient], examinePeers);
  void examination.check(
    'encryption',
    [credentials, token, peers],
    (ofCredentials, ofToken, ofPeers) =>
      judgeEncryption({ credentials: ofCredentials, token: ofToken, peers: ofPeers }),
  );
  void examination.check('fallback Regions', [patient, token], ({ config }, secret) =>
    examineFallbackRegions(config, secret),
  );
  void examination.check(
    'rotation',
    [patient, token],
    ({ config, slots, clock }, { description }) =>
      judgeRotation(description, config.rotation, slots, clock.now()),
  );
  void examination.check('rotation function', [patient, token], ({ clock }, { description }) =>
    judgeFunction(description, clock.now()),
  );
  void examination.check('pending version', [patient, token], (who, { description }) =>
    examinePending(who, description),
  );
  const provider = examination.check('provider', [patient, credentials], examineProvider);
  void examination.check('trial mint', [patient, provider], (who, asked) =>
    examineMint(who, asked, mint),
  );
  void examination.check('provider keys', [patient, provider], examineKeys);
  void examination.check('classification', [patient, provider, token], examineClassification);
  void examination.check('coverage', [patient, token], examineCoverage);
  void examination.check('clock', [patient, provider], examineClock);
}
