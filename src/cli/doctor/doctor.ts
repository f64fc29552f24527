import type { BrokerConfig } from '../../config/broker-config.js';
import { loadConfig } from '../../config/load-config.js';
import type { CommandContext } from '../command.js';
import { plain, show, type Paint } from '../../composition/terminal.js';
import { Examination, ok, warning, type CheckReport, type Examined } from './examination.js';
import {
  examineAuthentication,
  examineClassification,
  examineClock,
  examineCoverage,
  examineKeys,
  examineMint,
  examineProvider,
} from './examine-provider.js';
import { examinePending, judgeFunction, judgeRotation } from './examine-rotation.js';
import {
  examineCredentials,
  examineFallbackRegions,
  examinePeers,
  examineStore,
  examineTokenSecret,
  judgeEncryption,
} from './examine-secrets.js';

/**
 * `doctor`: checks, side by side and within ten seconds, everything that a rotation and a peer depend on. It changes
 * nothing.
 *
 * @param mint also mints a token on trial.
 * @returns true when nothing failed.
 */
export async function doctorCommand(
  { env, output }: CommandContext,
  mint: boolean,
): Promise<boolean> {
  const examination = new Examination();
  const close = examine(examination, env, mint);
  const reports = await examination.reports();
  await close();
  const report = reportJson(reports);
  show(output, report, reportLines(reports, output.paint));
  return report.ok;
}

/** Starts every check. @returns what closes the store. */
function examine(
  examination: Examination,
  env: NodeJS.ProcessEnv,
  mint: boolean,
): () => Promise<void> {
  const check = examination.check.bind(examination);
  const config = check('configuration', [], () => examineConfiguration(env));
  const broker = check('credentials', [config], examineStore);
  const credentials = check('credentials secret', [broker], examineCredentials);
  const token = check('token secret', [broker], examineTokenSecret);
  const peers = check('peers secret', [broker], examinePeers);
  void check('encryption', [credentials, token, peers], (ofCredentials, ofToken, ofPeers) =>
    judgeEncryption({
      ...(ofCredentials.secret && { credentials: ofCredentials.secret }),
      token: ofToken,
      peers: ofPeers,
    }),
  );
  void check('fallback Regions', [broker, token], examineFallbackRegions);
  void check('rotation', [broker, token], (core, { description }) =>
    judgeRotation(
      description,
      { ...core.config.rotation, ...core.token.rotation },
      core.slots,
      core.clock.now(),
    ),
  );
  void check('rotation function', [broker, token], ({ clock }, { description }) =>
    judgeFunction(description, clock.now()),
  );
  void check('pending version', [broker, token], (core, { description }) =>
    examinePending(core, description),
  );
  const provider = check('provider', [broker, credentials], examineProvider);
  void check('client authentication', [broker, credentials, provider], examineAuthentication);
  void check('trial mint', [broker, provider], (core, asked) => examineMint(core, asked, mint));
  void check('provider keys', [broker, provider], examineKeys);
  void check('classification', [broker, provider, token], examineClassification);
  void check('coverage', [broker, token], examineCoverage);
  void check('clock', [broker, provider], examineClock);
  return async () => {
    const opened = await broker;
    if ('value' in opened) await opened.value.close();
  };
}

/** The configuration, with all its mistakes. @throws {ConfigError} */
function examineConfiguration(env: NodeJS.ProcessEnv): Examined<BrokerConfig> {
  const value = loadConfig({ env });
  const { secrets, tokens, warnings } = value;
  const [{ verification }] = tokens;
  const [only] = warnings;
  if (only === undefined) {
    const summary = `Without a mistake: secret store "${secrets.store}", profile "${verification.profile}".`;
    return { ...ok(summary), value };
  }
  if (warnings.length === 1) return { ...warning(only), value };
  const summary = `Without a mistake, and with ${warnings.length} warnings:`;
  return { ...warning(summary), details: warnings, value };
}

/** The report for programs. Warnings and skipped checks are no failure. Pure. */
export function reportJson(reports: readonly CheckReport[]): {
  readonly ok: boolean;
  readonly checks: readonly CheckReport[];
} {
  return { ok: reports.every(({ state }) => state !== 'failed'), checks: reports };
}

const LABELS = {
  ok: [' ok ', 'good'],
  warning: ['WARN', 'warning'],
  failed: ['FAIL', 'bad'],
  skipped: ['skip', 'faint'],
} as const;

/**
 * The report for people: a line for each check that was made, with its details below it, and their counts. The checks
 * that a failed one holds up are counted, since only that one is to be fixed. Pure.
 */
export function reportLines(
  reports: readonly CheckReport[],
  paint: Paint = plain,
): readonly string[] {
  const made = reports.filter(({ blockedBy }) => blockedBy === undefined);
  const width = Math.max(0, ...made.map(({ check }) => check.length));
  const lines: string[] = [];
  for (const { state, check, message, details = [], action, code } of made) {
    const [label, tone] = LABELS[state];
    const parts = [message, action, code === undefined ? undefined : `(${code})`];
    lines.push(`${paint(tone, label)}  ${check.padEnd(width)}  ${parts.filter(Boolean).join(' ')}`);
    const margin = ' '.repeat(label.length + width + 4);
    for (const detail of details) lines.push(`${margin}- ${detail}`);
  }
  const count = (state: CheckReport['state']): number =>
    reports.filter((report) => report.state === state).length;
  const verdict =
    count('failed') === 0
      ? paint('good', 'Nothing failed')
      : paint('bad', `${count('failed')} failed`);
  return [
    ...lines,
    '',
    ...heldUp(reports),
    `${verdict}. Warnings: ${count('warning')}, ok: ${count('ok')}, skipped: ${count('skipped')}.`,
  ];
}

/** How many checks each failed one holds up. */
function heldUp(reports: readonly CheckReport[]): readonly string[] {
  const blockers = reports.flatMap(({ blockedBy }) => blockedBy ?? []);
  return [...new Set(blockers)].map((blocker) => {
    const number = blockers.filter((name) => name === blocker).length;
    return `Fix "${blocker}" first: ${number === 1 ? '1 other check depends' : `${number} other checks depend`} on it.`;
  });
}
