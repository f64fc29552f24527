import {
  DEFAULT_NAME,
  type BrokerConfig,
  type TlsFilesConfig,
  type TokenConfig,
} from '../../config/broker-config.js';
import { loadConfig } from '../../config/load-config.js';
import type { CommandContext } from '../command.js';
import { endsSoon, readServerCertificate } from '../../composition/server-certificate.js';
import { instant, plain, show, wrapped, type Paint } from '../../composition/terminal.js';
import { systemClock, type Clock } from '../../tokens/time.js';
import {
  Examination,
  ok,
  warning,
  type CheckReport,
  type Examined,
  type Finding,
  type Outcome,
} from './examination.js';
import {
  examineAuthentication,
  examineClassification,
  examineClock,
  examineCoverage,
  examineKeys,
  examineMint,
  examineProvider,
  type ExaminedProvider,
} from './examine-provider.js';
import { examineAuthorities, examineProxies } from './examine-network.js';
import { examinePending, judgeFunction, judgeRotation } from './examine-rotation.js';
import {
  examineCredentials,
  examineFallbackRegions,
  examinePeers,
  examineStore,
  examineTokenSecret,
  judgeEncryption,
  type ExaminedBroker,
  type ExaminedCredentials,
  type ExaminedStore,
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
  const close = await examine(examination, env, mint);
  const reports = await examination.reports();
  await close();
  const report = reportJson(reports);
  show(output, report, reportLines(reports, output.paint, output.columns));
  return report.ok;
}

/** Starts every check, those of a credentials secret and of a provider once. @returns what closes the store. */
async function examine(
  examination: Examination,
  env: NodeJS.ProcessEnv,
  mint: boolean,
): Promise<() => Promise<void>> {
  const config = examination.check('configuration', [], () => examineConfiguration(env));
  const store = examination.check('credentials', [config], examineStore);
  const read = await config;
  const tls = 'value' in read ? read.value.http.tls : undefined;
  if (tls !== undefined)
    void examination.check('TLS files', [], () => examineTls(tls, systemClock));
  if ('value' in read) examineNetwork(examination, read.value, env);
  // Without a configuration every check is skipped, and named as for one token.
  const configured = 'value' in read ? read.value.tokens : undefined;
  const tokens = configured?.map((token) => examinedToken(store, token, configured)) ?? [
    examinedToken(store),
  ];
  examineTokens(examination.check.bind(examination), tokens, mint);
  return async () => {
    const opened = await store;
    if ('value' in opened) await opened.value.close();
  };
}

/** What is on the way to the provider, keys and AWS, where something is. */
function examineNetwork(
  examination: Examination,
  config: BrokerConfig,
  env: NodeJS.ProcessEnv,
): void {
  const { caFile, httpsProxy, httpProxy } = config.network;
  if (caFile !== undefined) {
    void examination.check('CA file', [], () => examineAuthorities(config, systemClock.now()));
  }
  if (httpsProxy !== undefined || httpProxy !== undefined) {
    void examination.check('proxy', [], () => examineProxies(config, env));
  }
}

/** One token to examine. */
interface TokenToExamine {
  readonly broker: Promise<Outcome<ExaminedBroker>>;
  /** Added to the names of its checks; empty where there is only one token. */
  readonly suffix: string;
  /** The first token of its credentials secret, and of its provider: their checks are made with it. */
  readonly isFirstOfSecret: boolean;
  readonly isFirstOfProvider: boolean;
  readonly secretSuffix: string;
  readonly providerSuffix: string;
  readonly credentialsSecretId: string;
  readonly providerName: string;
}

function examinedToken(
  store: Promise<Outcome<ExaminedStore>>,
  token?: TokenConfig,
  all: readonly TokenConfig[] = [],
): TokenToExamine {
  const { name = DEFAULT_NAME, credentialsSecretId = '', providerName = '' } = token ?? {};
  const firstOf = (same: (other: TokenConfig) => boolean): boolean =>
    all.find(same) === token || token === undefined;
  const isOne = (names: readonly string[]): boolean => new Set(names).size <= 1;
  const isOneProvider = isOne(all.map((other) => other.providerName));
  return {
    broker: store.then((outcome): Outcome<ExaminedBroker> => {
      const broker = 'value' in outcome ? outcome.value.tokens.get(name) : undefined;
      return broker ? { value: broker } : (outcome as { readonly blockedBy: string });
    }),
    suffix: all.length <= 1 ? '' : ` of ${name}`,
    isFirstOfSecret: firstOf((other) => other.credentialsSecretId === credentialsSecretId),
    isFirstOfProvider: firstOf((other) => other.providerName === providerName),
    secretSuffix: isOneProvider ? '' : ` of ${providerName}`,
    providerSuffix: isOneProvider ? '' : ` ${providerName}`,
    credentialsSecretId,
    providerName,
  };
}

function examineTokens(
  check: Examination['check'],
  tokens: readonly TokenToExamine[],
  mint: boolean,
): void {
  const credentials = new Map<string, Promise<Outcome<ExaminedCredentials>>>();
  for (const { isFirstOfSecret, credentialsSecretId, secretSuffix, broker } of tokens) {
    if (!isFirstOfSecret) continue;
    const made = check(`credentials secret${secretSuffix}`, [broker], examineCredentials);
    credentials.set(credentialsSecretId, made);
  }
  const examined = tokens.map((token) => ({
    ...token,
    secret: check(`token secret${token.suffix}`, [token.broker], examineTokenSecret),
    credentials: credentials.get(token.credentialsSecretId) ?? NOT_EXAMINED,
  }));
  const peers = check('peers secret', [tokens[0]?.broker ?? NOT_EXAMINED], examinePeers);
  for (const { suffix, broker, secret, credentials: own } of examined) {
    void check(`encryption${suffix}`, [own, secret, peers], (ofCredentials, ofToken, ofPeers) =>
      judgeEncryption({
        ...(ofCredentials.secret && { credentials: ofCredentials.secret }),
        token: ofToken,
        peers: ofPeers,
      }),
    );
    void check(`fallback Regions${suffix}`, [broker, secret], examineFallbackRegions);
    void check(`rotation${suffix}`, [broker, secret], (core, { description }) =>
      judgeRotation(
        description,
        { ...core.config.rotation, ...core.token.rotation },
        core.slots,
        core.clock.now(),
      ),
    );
    void check(`rotation function${suffix}`, [broker, secret], ({ clock }, { description }) =>
      judgeFunction(description, clock.now()),
    );
    void check(`pending version${suffix}`, [broker, secret], (core, { description }) =>
      examinePending(core, description),
    );
  }
  const providers = new Map<string, Promise<Outcome<ExaminedProvider>>>();
  for (const token of examined) {
    const { isFirstOfProvider, providerName, providerSuffix, broker, credentials: own } = token;
    if (!isFirstOfProvider) continue;
    const provider = check(`provider${providerSuffix}`, [broker, own], examineProvider);
    providers.set(providerName, provider);
    void check(
      `client authentication${providerSuffix}`,
      [broker, own, provider],
      examineAuthentication,
    );
  }
  for (const { providerName, isFirstOfProvider, providerSuffix, ...token } of examined) {
    const { suffix, broker, secret } = token;
    const provider = providers.get(providerName) ?? NOT_EXAMINED;
    void check(`trial mint${suffix}`, [broker, provider], async (core, asked) =>
      examineMint(core, await withOwnSettings(core, asked, isFirstOfProvider), mint),
    );
    if (isFirstOfProvider) {
      void check(`provider keys${providerSuffix}`, [broker, provider], examineKeys);
    }
    void check(`classification${suffix}`, [broker, provider, secret], async (core, asked, held) =>
      examineClassification(core, await withOwnSettings(core, asked, isFirstOfProvider), held),
    );
    void check(`coverage${suffix}`, [broker, secret], examineCoverage);
    if (isFirstOfProvider) void check(`clock${providerSuffix}`, [broker, provider], examineClock);
  }
}

/** Stands for a check that is not there; every token has its own in fact. */
const NOT_EXAMINED = Promise.resolve({ blockedBy: 'configuration' } as const);

/** What a provider was asked with, for another of its tokens, which has an audience of its own. */
async function withOwnSettings(
  { source }: ExaminedBroker,
  asked: ExaminedProvider,
  isOwn: boolean,
): Promise<ExaminedProvider> {
  return isOwn ? asked : { ...asked, settings: (await source.access()).settings };
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

/** Whether the files of TLS can be used, and for how long. @throws {BrokerError} */
export async function examineTls(files: TlsFilesConfig, clock: Clock): Promise<Finding> {
  const certificate = await readServerCertificate(files, clock.now());
  const { subject, endsAt, clientCa } = certificate;
  const clients = clientCa === undefined ? 'none is asked for' : 'their authorities can be read';
  const found = `${subject}, valid until ${instant(endsAt)}. Client certificates: ${clients}.`;
  return endsSoon(certificate, clock.now())
    ? warning(found, 'It should have been renewed: see why it was not.')
    : ok(found);
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
 *
 * @param columns how wide the terminal is. Default: lines are not broken.
 */
export function reportLines(
  reports: readonly CheckReport[],
  paint: Paint = plain,
  columns?: number,
): readonly string[] {
  const made = reports.filter(({ blockedBy }) => blockedBy === undefined);
  const width = Math.max(0, ...made.map(({ check }) => check.length));
  const lines: string[] = [];
  for (const { state, check, message, details = [], action, code } of made) {
    const [label, tone] = LABELS[state];
    const parts = [message, action, code === undefined ? undefined : `(${code})`];
    const indent = label.length + width + 4;
    const text = wrapped(parts.filter(Boolean).join(' '), indent, columns);
    lines.push(`${paint(tone, label)}  ${check.padEnd(width)}  ${text}`);
    const margin = ' '.repeat(indent);
    for (const detail of details) lines.push(`${margin}- ${wrapped(detail, indent + 2, columns)}`);
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
