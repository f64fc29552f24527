import { isIP } from 'node:net';
import type * as z from 'zod/mini';
import { nameOfIdentity } from '../peers/certificate-names.js';
import { trimPasted } from '../tokens/json.js';
import { DEFAULT_NAME, groupSettings, tokenOf, type BrokerConfig } from './broker-config.js';
import { ConfigError, oneEach, shown, suggest, type ConfigMistake } from './config-error.js';
import { readPeerSections, type IdentitiesConfig } from './peer-sections.js';
import { readTokens, type SettingTexts, type TokenSections } from './named-tokens.js';
import { SETTINGS_SCHEMA, type Settings } from './schema.js';
import { fileKey, SETTING_NAMES, settingOf, type SettingName } from './settings.js';
import { HIDDEN } from './values.js';

/** Defaults that replace the built-in ones. Environment and file take precedence. */
export type SettingDefaults = Readonly<Partial<Record<SettingName, string>>>;

/** The sections that a file may have beside the flat settings. */
export const SECTION_NAMES = ['providers', 'tokens', 'trusted_issuers', 'peers'] as const;

/** The key of a section. */
export type SectionName = (typeof SECTION_NAMES)[number];

/** A configuration file, read. */
export interface ConfigFile {
  /** The file's name in mistakes. */
  readonly path: string;
  /** The text of each setting in it. */
  readonly texts: ReadonlyMap<SettingName, string>;
  /** Its sections, as parsed. */
  readonly sections?: Readonly<Partial<Record<SectionName, unknown>>>;
  readonly mistakes: readonly ConfigMistake[];
}

/** Where the settings come from. */
interface GivenSettings {
  /** White space and line ends around a value are dropped; an empty variable counts as missing. */
  readonly env: NodeJS.ProcessEnv;
  readonly file?: ConfigFile;
  readonly defaults?: SettingDefaults;
}

/**
 * Checks the settings: environment variables first, then the file, then defaults. Needs neither the disk nor YAML.
 *
 * @throws {ConfigError} `CONFIG_INVALID` with every mistake at once.
 */
export function checkSettings({ env, file, defaults = {} }: GivenSettings): BrokerConfig {
  const texts: Partial<Record<SettingName, string>> = {};
  const given = new Set<SettingName>();
  const sources = new Map<SettingName, string>();
  for (const name of SETTING_NAMES) {
    const fromEnvironment = environmentText(env, name);
    const fromFile = trimPasted(file?.texts.get(name) ?? '');
    if (fromEnvironment !== '') {
      texts[name] = fromEnvironment;
      given.add(name);
    } else if (file !== undefined && fromFile !== '') {
      texts[name] = fromFile;
      given.add(name);
      sources.set(name, sourceOf(name, file.path));
    } else {
      texts[name] = defaults[name] ?? settingOf(name).default;
    }
  }

  const result = SETTINGS_SCHEMA.safeParse(texts);
  const defaultOf = (name: SettingName): string | undefined =>
    defaults[name] ?? settingOf(name).default;
  const named = readSections(file, { texts, given, defaultOf });
  const peers = readPeerSections(
    { path: file?.path ?? '', ...file?.sections },
    {
      publicUrl: texts.BROKER_PUBLIC_URL,
      tokenNames: named.tokens.length > 0 ? named.tokens.map(({ name }) => name) : [DEFAULT_NAME],
    },
  );
  const mistakes = [
    ...(file?.mistakes ?? []),
    ...(result.error?.issues ?? []).map((issue) => mistakeOf(issue, texts, sources)),
    ...named.mistakes,
    ...peers.mistakes,
  ];
  const unknown = unknownVariables(env);
  if (!result.success || mistakes.length > 0) throw new ConfigError(oneEach(mistakes), unknown);
  const [first = tokenOf(DEFAULT_NAME, DEFAULT_NAME, result.data), ...others] = named.tokens;
  return groupSettings(result.data, [first, ...others], peers.identities, [
    ...unknown,
    ...named.warnings,
    ...unreachable(result.data, peers.identities),
  ]);
}

/** What the environment says of a setting; empty when it says nothing. */
export function environmentText(env: NodeJS.ProcessEnv, name: SettingName): string {
  const names = settingOf(name).lowerCaseToo === true ? [name.toLowerCase(), name] : [name];
  return names.map((one) => trimPasted(env[one] ?? '')).find((text) => text !== '') ?? '';
}

/** Nobody can present a certificate if neither the broker asks for one, nor a proxy may pass one on. */
function unreachable(settings: Settings, { peers }: IdentitiesConfig): readonly string[] {
  const { BROKER_TLS_CLIENT_CA_FILE: ca, BROKER_TRUSTED_PROXIES: proxies } = settings;
  const peer = peers.find(({ identities }) => identities.some(nameOfIdentity));
  return peer === undefined || ca !== undefined || proxies !== undefined
    ? []
    : [
        `The peer "${peer.id}" is known by a client certificate, and none is accepted: set BROKER_TLS_CLIENT_CA_FILE, or BROKER_TRUSTED_PROXIES behind a proxy.`,
      ];
}

/** The tokens that the file's sections name; none where there are only flat settings. */
function readSections(
  file: ConfigFile | undefined,
  flat: Parameters<typeof readTokens>[1],
): ReturnType<typeof readTokens> {
  const { path = '', sections = {} } = file ?? {};
  const given: TokenSections = { path, ...sections };
  return given.providers === undefined && given.tokens === undefined
    ? { tokens: [], mistakes: [], warnings: [] }
    : readTokens(given, flat);
}

/** The source of a value from the file, as mistakes name it. */
export function sourceOf(name: SettingName, path: string): string {
  return `${fileKey(name)} in ${path}`;
}

function mistakeOf(
  issue: z.core.$ZodIssue,
  texts: SettingTexts,
  sources: ReadonlyMap<SettingName, string>,
): ConfigMistake {
  // Every path starts with the setting's name: the schema is an object of them.
  const name = issue.path[0] as SettingName;
  const setting = settingOf(name);
  const source = sources.get(name);
  const text = texts[name];
  return {
    name,
    ...(source === undefined ? {} : { source }),
    ...(text === undefined ? {} : { given: setting.secret === true ? HIDDEN : shown(text) }),
    ...problemOf(issue, name, text),
    allowed: setting.allowed,
  };
}

function problemOf(
  issue: z.core.$ZodIssue,
  name: SettingName,
  text = '',
): Pick<ConfigMistake, 'problem'> {
  const service = serviceOf(name, text);
  if (service !== undefined) {
    return {
      problem: `Kubernetes sets it for the Service "${service}": give the pod "enableServiceLinks: false", or the Service another name`,
    };
  }
  // Only messages of this room: the library's may quote the value.
  return issue.code === 'custom' ? { problem: issue.message } : {};
}

/** People look for the client credentials among the variables. */
const CREDENTIALS_VARIABLE = /^BROKER_CLIENT_(?:ID|SECRETS?|KEY)$/;

function unknownVariables(env: NodeJS.ProcessEnv): readonly string[] {
  const known: readonly string[] = [...SETTING_NAMES, 'BROKER_CONFIG'];
  return Object.keys(env)
    .filter((name) => name.startsWith('BROKER_') && !known.includes(name))
    .filter((name) => serviceOf(name, env[name] ?? '') === undefined)
    .sort()
    .map((name) => {
      const near = suggest(name, known);
      if (CREDENTIALS_VARIABLE.test(name)) {
        return `${name} is not a setting and has no effect: client credentials belong in the credentials secret (BROKER_CREDENTIALS_SECRET_ID).`;
      }
      const hint = near === undefined ? '' : ` Did you mean ${near}?`;
      return `${name} is not a setting and has no effect.${hint}`;
    });
}

const isPort = (text: string): boolean => /^\d{1,5}$/.test(text);
const isAddress = (text: string): boolean => isIP(text) !== 0;
const isProtocol = (text: string): boolean => /^(?:tcp|udp|sctp)$/.test(text);
const isLink = (text: string): boolean =>
  /^(?:tcp|udp|sctp):\/\/(?:[\d.]+|\[[\da-f:.]+\]):\d{1,5}$/.test(text);

/**
 * The variables that Kubernetes puts into every pod for each Service of its namespace: how their names end, and the form
 * of their values. https://kubernetes.io/docs/tutorials/services/connect-applications-service/
 */
const SERVICE_LINKS: readonly (readonly [RegExp, (text: string) => boolean])[] = [
  [/_SERVICE_HOST$/, isAddress],
  [/_SERVICE_PORT(?:_[A-Z0-9_]+)?$/, isPort],
  [/_PORT_\d{1,5}_(?:TCP|UDP|SCTP)$/, isLink],
  [/_PORT_\d{1,5}_(?:TCP|UDP|SCTP)_PROTO$/, isProtocol],
  [/_PORT_\d{1,5}_(?:TCP|UDP|SCTP)_PORT$/, isPort],
  [/_PORT_\d{1,5}_(?:TCP|UDP|SCTP)_ADDR$/, isAddress],
  [/_PORT$/, isLink],
];

/** The Service that Kubernetes has set a variable for; `undefined` for any other variable. */
function serviceOf(name: string, text: string): string | undefined {
  const link = SERVICE_LINKS.find(([form, isValue]) => form.test(name) && isValue(text));
  return link && name.replace(link[0], '').toLowerCase().replaceAll('_', '-');
}
