import { isIP } from 'node:net';
import type * as z from 'zod';
import { BrokerError, oneLine } from '../tokens/errors.js';
import { trimPasted } from '../tokens/json.js';
import { redactText } from '../tokens/redaction.js';
import { groupSettings, type BrokerConfig } from './broker-config.js';
import { SETTINGS_SCHEMA } from './schema.js';
import { fileKey, SETTING_NAMES, settingOf, type SettingName } from './settings.js';
import { HIDDEN } from './values.js';

/** One mistake in the configuration. */
export interface ConfigMistake {
  /** The environment variable, or `BROKER_CONFIG` for a mistake of the file itself. */
  readonly name: string;
  /** Where the value came from, when that is not the environment: the file and its key. */
  readonly source?: string;
  /** What was given, as text; `(hidden)` for secret settings, `undefined` when nothing was. */
  readonly given?: string;
  /** What is wrong with it, when that is not plain from `allowed`. */
  readonly problem?: string;
  /** What is allowed. */
  readonly allowed: string;
  /** What is wrong as a whole sentence without its full stop, where `NAME is VALUE` would not say it. */
  readonly sentence?: string;
}

/**
 * The configuration cannot be used. It carries every mistake, not only the first.
 *
 * `code` is `CONFIG_INVALID`, `kind` is `misconfigured`. Secret values are never shown.
 */
export class ConfigError extends BrokerError {
  declare readonly code: 'CONFIG_INVALID';
  /** Every mistake, in the order of the settings. */
  readonly mistakes: readonly ConfigMistake[];
  /** The mistakes for people, one sentence or two each; behind them the hints. */
  readonly lines: readonly string[];

  /** @param hints what is no mistake, and may be why there is one: misspelt variables. One sentence each. */
  constructor(mistakes: readonly ConfigMistake[], hints: readonly string[] = []) {
    const count = mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`;
    const told = mistakes.map((mistake) => oneLine(describe(mistake)));
    const beside = hints.map(oneLine);
    super(
      'CONFIG_INVALID',
      'misconfigured',
      [
        `The configuration has ${count}:`,
        ...told.map((line) => `  - ${line}`),
        // Not in the list, whose lines are counted: what has no effect is no mistake.
        ...beside.map((hint) => `Note: ${hint}`),
        'Correct them and start again; "service-token-broker serve --help" lists every setting.',
      ].join('\n'),
    );
    this.lines = [...told, ...beside];
    this.mistakes = mistakes;
  }
}

function describe({ name, source, given, problem, allowed, sentence }: ConfigMistake): string {
  if (sentence !== undefined) {
    return `${sentence}${sentence.endsWith('?') ? '' : '.'} Allowed: ${allowed}.`;
  }
  const from = source === undefined ? '' : ` (${source})`;
  const what = given === undefined ? '' : ` is ${given}`;
  const why = problem === undefined ? '' : `: ${problem}`;
  return `${name}${from}${what}${why}. Allowed: ${allowed}.`;
}

/** The name that was probably meant, or `undefined` when nothing is near. */
export function suggest(given: string, names: readonly string[]): string | undefined {
  const wanted = plain(given);
  let best: { name: string; distance: number } | undefined;
  for (const name of names) {
    const distance = editDistance(wanted, plain(name));
    if (best === undefined || distance < best.distance) best = { name, distance };
  }
  // A third of the letters wrong is a slip; more is another word.
  return best !== undefined && best.distance <= Math.floor(wanted.length / 3)
    ? best.name
    : undefined;
}

/** `secretStore`, `secret-store` and `BROKER_SECRET_STORE` are the same name, written differently. */
function plain(name: string): string {
  return name
    .toLowerCase()
    .replace(/[^a-z0-9]/g, '')
    .replace(/^broker(?=.)/, '');
}

/** How many letters must be added, removed, replaced or swapped with their neighbour (optimal string alignment). */
function editDistance(from: string, to: string): number {
  const rows: number[][] = [Array.from({ length: to.length + 1 }, (_, column) => column)];
  const at = (row: number, column: number): number => rows[row]?.[column] ?? Infinity;
  for (let row = 1; row <= from.length; row += 1) {
    rows[row] = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const same = from[row - 1] === to[column - 1];
      const swapped = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      (rows[row] as number[])[column] = Math.min(
        at(row - 1, column) + 1,
        at(row, column - 1) + 1,
        at(row - 1, column - 1) + (same ? 0 : 1),
        swapped ? at(row - 2, column - 2) + 1 : Infinity,
      );
    }
  }
  return at(from.length, to.length);
}

/** Defaults that replace the built-in ones. Environment and file still win. */
export type SettingDefaults = Readonly<Partial<Record<SettingName, string>>>;

/** What a configuration file says. */
export interface ConfigFile {
  /** How the file is named in mistakes. */
  readonly path: string;
  /** The text of every setting that is in it. */
  readonly texts: ReadonlyMap<SettingName, string>;
  readonly mistakes: readonly ConfigMistake[];
}

/** What the settings are made of. */
interface GivenSettings {
  /** White space and line ends around a value are dropped; an empty variable counts as not given. */
  readonly env: NodeJS.ProcessEnv;
  readonly file?: ConfigFile;
  readonly defaults?: SettingDefaults;
}

/**
 * Checks the settings: environment variables first, then the file, then defaults. It reads nothing by itself, and
 * needs no YAML.
 *
 * @throws {ConfigError} `CONFIG_INVALID` with every mistake at once.
 */
export function checkSettings({ env, file, defaults = {} }: GivenSettings): BrokerConfig {
  const texts: Partial<Record<SettingName, string>> = {};
  const sources = new Map<SettingName, string>();
  for (const name of SETTING_NAMES) {
    const fromEnvironment = trimPasted(env[name] ?? '');
    const fromFile = trimPasted(file?.texts.get(name) ?? '');
    if (fromEnvironment !== '') {
      texts[name] = fromEnvironment;
    } else if (file !== undefined && fromFile !== '') {
      texts[name] = fromFile;
      sources.set(name, sourceOf(name, file.path));
    } else {
      texts[name] = defaults[name] ?? settingOf(name).default;
    }
  }

  const result = SETTINGS_SCHEMA.safeParse(texts);
  const mistakes = [
    ...(file?.mistakes ?? []),
    ...(result.error?.issues ?? []).map((issue) => mistakeOf(issue, texts, sources)),
  ];
  const unknown = unknownVariables(env);
  if (!result.success || mistakes.length > 0) throw new ConfigError(oneEach(mistakes), unknown);
  return groupSettings(result.data, unknown);
}

/** How mistakes say that a value came from the file. */
export function sourceOf(name: SettingName, path: string): string {
  return `${fileKey(name)} in ${path}`;
}

function mistakeOf(
  issue: z.core.$ZodIssue,
  texts: Readonly<Partial<Record<SettingName, string>>>,
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
  // Our own messages only: the library's may quote what was given.
  return issue.code === 'custom' ? { problem: issue.message } : {};
}

/** What was given, short enough to read, and without what was pasted into the wrong setting. */
function shown(text: string): string {
  const safe = redactText(text);
  return JSON.stringify(safe.length > 80 ? `${safe.slice(0, 80)}…` : safe);
}

/** A list of several bad items is one mistake. */
function oneEach(mistakes: readonly ConfigMistake[]): readonly ConfigMistake[] {
  const seen = new Map(mistakes.map((mistake) => [JSON.stringify(mistake), mistake]));
  return [...seen.values()];
}

/** People look for the client credentials among the variables; they are told where those live. */
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
        return `${name} is not a setting and has no effect: client credentials belong into the credentials secret (BROKER_CREDENTIALS_SECRET_ID).`;
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
 * The variables that Kubernetes puts into every pod for each Service of its namespace: their names behind the Service's,
 * and what their values look like. https://kubernetes.io/docs/tutorials/services/connect-applications-service/
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

/** The Service that Kubernetes has set a variable for; `undefined` when somebody else has. */
function serviceOf(name: string, text: string): string | undefined {
  const link = SERVICE_LINKS.find(([form, isValue]) => form.test(name) && isValue(text));
  return link && name.replace(link[0], '').toLowerCase().replaceAll('_', '-');
}
