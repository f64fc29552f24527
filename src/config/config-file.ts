import { trimPasted } from '../tokens/json.js';
import { sourceOf, SECTION_NAMES, type ConfigFile, type SectionName } from './check-settings.js';
import { suggest, type ConfigMistake } from './config-error.js';
import { textOf } from './named-tokens.js';
import { fileKey, SETTING_NAMES, settingOf, type SettingName } from './settings.js';

const BY_KEY: ReadonlyMap<string, SettingName> = new Map(
  SETTING_NAMES.map((name) => [fileKey(name), name]),
);

const ALLOWED_FILE = 'a YAML 1.2 file of settings, one `key: value` each';

/** The result for a file that cannot be used at all. */
export function fileMistake(path: string, problem: string): ConfigFile {
  const mistake = { name: 'BROKER_CONFIG', given: `"${path}"`, problem, allowed: ALLOWED_FILE };
  return { path, texts: new Map(), mistakes: [mistake] };
}

/** The settings and the sections of a file, by their keys. */
export function readKeys(content: object, path: string): ConfigFile {
  const texts = new Map<SettingName, string>();
  const sections: Partial<Record<SectionName, unknown>> = {};
  const mistakes: ConfigMistake[] = [];
  for (const [key, value] of Object.entries(content)) {
    const section = SECTION_NAMES.find((known) => known === key);
    if (section !== undefined) {
      sections[section] = value;
      continue;
    }
    const name = BY_KEY.get(key);
    const text = textOf(value);
    if (name === undefined) mistakes.push(unknownKey(key, path));
    else if (text === undefined) mistakes.push(nestedValue(name, path));
    else if (text !== '') texts.set(name, text);
  }
  return { path, texts, sections, mistakes };
}

function unknownKey(key: string, path: string): ConfigMistake {
  const near = suggest(key, [...BY_KEY.keys(), ...SECTION_NAMES]);
  const hint = near === undefined ? '' : `; did you mean "${near}"?`;
  const given = JSON.stringify(key.slice(0, 64));
  const problem = `this key is unknown${hint}`;
  return {
    name: 'BROKER_CONFIG',
    source: path,
    given,
    problem,
    sentence: `${path} has the key ${given}, which is unknown${hint}`,
    allowed:
      'the keys of the configuration table, as "service-token-broker serve --help" lists them',
  };
}

function nestedValue(name: SettingName, path: string): ConfigMistake {
  return {
    name,
    source: sourceOf(name, path),
    problem: 'it is neither a single value nor a list of single values without commas',
    allowed: 'a single value, or a list where several are allowed',
  };
}

/**
 * What a file says, by key and as text, but for `peers` and `trusted_issuers`: settings that are not as they are by default
 * by their own keys, entries of the other sections as `tokens.ledger`.
 */
export function keysOf({ texts, sections = {} }: ConfigFile): ReadonlyMap<string, string> {
  const settings = [...texts]
    .filter(([name, text]) => trimPasted(text) !== settingOf(name).default)
    .map(([name, text]) => [fileKey(name), trimPasted(text)] as const);
  const entries = (['providers', 'tokens'] as const).flatMap((section) =>
    Object.entries(sections[section] ?? {}).map(
      ([name, entry]) => [`${section}.${name}`, JSON.stringify(entry)] as const,
    ),
  );
  return new Map([...settings, ...entries].filter(([, text]) => text !== ''));
}
