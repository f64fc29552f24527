import type { BrokerConfig } from '../../config/broker-config.js';
import { loadConfig } from '../../config/load-config.js';
import {
  ok,
  warning,
  type Examined,
  type Finding,
  type CheckReport,
  Examination,
  type Outcome,
} from './examination.js';
import {
  type ExaminedSecret,
  examineFallbackRegions,
  examineCredentials,
  examinePeers,
  examineTokenSecret,
  examineStore,
  type Patient,
} from './examine-secrets.js';
import { type CommandContext, show } from '../command.js';
import {
  examineClock,
  examineKeys,
  examineProvider,
  examineClassification,
  examineCoverage,
  examineMint,
} from './examine-provider.js';
import { examinePending, judgeFunction, judgeRotation } from './examine-rotation.js';

/** The configuration, with all its mistakes. @throws {ConfigError} */
export function examineConfiguration(env: NodeJS.ProcessEnv): Examined<BrokerConfig> {
  const config = loadConfig({ env });
  const { secrets, verification, warnings } = config;
  if (warnings.length > 0) return { ...judgeWarnings(warnings), value: config };
  const summary = `Without a mistake: secret store "${secrets.store}", profile "${verification.profile}".`;
  return { ...ok(summary), value: config };
}

function judgeWarnings(warnings: readonly string[]): Finding {
  const [only = ''] = warnings;
  if (warnings.length === 1) return warning(only);
  return {
    ...warning(`Without a mistake, and with ${warnings.length} warnings:`),
    details: warnings,
  };
}

/**
 * Which keys protect the secrets, and whether this identity may decrypt with them: a value that was read is proof. Pure.
 *
 * @param secrets by the name they are called in the report.
 */
export function judgeEncryption(secrets: Readonly<Record<string, ExaminedSecret>>): Finding {
  const entries = Object.entries(secrets);
  if (entries.every(([, { description }]) => description.encryptionKeyId === undefined)) {
    return ok("The embedded store's own envelope encryption; AWS KMS is not used.");
  }
  const parts = entries.map(([name, { description, wasRead }]) => {
    const key = description.encryptionKeyId ?? 'a key that is not told';
    return `${name} by ${key}${wasRead ? '' : ' (nothing to decrypt yet)'}`;
  });
  return ok(`Decrypted: ${parts.join(', ')}.`);
}

const LABELS: Readonly<Record<Finding['state'], string>> = {
  ok: ' ok ',
  warning: 'WARN',
  failed: 'FAIL',
  skipped: 'skip',
};

/** True when nothing failed: warnings and skipped checks are no failure. */
export function isHealthy(reports: readonly CheckReport[]): boolean {
  return reports.every(({ state }) => state !== 'failed');
}

/** The report for programs. */
export function reportJson(reports: readonly CheckReport[]): object {
  return { ok: isHealthy(reports), checks: reports };
}

/** The report for people: a line for each check, with its details below it, and one for all of them. */
export function reportLines(reports: readonly CheckReport[]): readonly string[] {
  const width = Math.max(0, ...reports.map(({ check }) => check.length));
  return [...reports.flatMap((report) => lines(report, width)), '', summary(reports)];
}

function lines(report: CheckReport, width: number): readonly string[] {
  const { state, check, message, details = [], action, code } = report;
  const parts = [message, action, code === undefined ? undefined : `(${code})`];
  const margin = ' '.repeat(LABELS[state].length + width + 4);
  return [
    `${LABELS[state]}  ${check.padEnd(width)}  ${parts.filter(Boolean).join(' ')}`,
    ...details.map((detail) => `${margin}- ${detail}`),
  ];
}

function summary(reports: readonly CheckReport[]): string {
  const count = (state: Finding['state']): number =>
    reports.filter((report) => report.state === state).length;
  const verdict = isHealthy(reports) ? 'Nothing failed' : `${count('failed')} failed`;
  return `${verdict}. Warnings: ${count('warning')}, ok: ${count('ok')}, skipped: ${count('skipped')}.`;
}

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
