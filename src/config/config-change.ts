import { checkSettings, environmentText, type ConfigFile } from './check-settings.js';
import { keysOf } from './config-file.js';
import { ConfigError } from './config-error.js';
import { parseConfigFile } from './load-config.js';
import type { IdentitiesConfig } from './peer-sections.js';
import { fileKey, SETTING_NAMES } from './settings.js';

/** A configuration file that has changed while the broker runs. */
export interface ChangedFile {
  /** The environment that the broker was started with: it still wins over the file. */
  readonly env: NodeJS.ProcessEnv;
  /** The file's name in mistakes. */
  readonly path: string;
  /** What it said when the broker was started, by `keysOf`. */
  readonly before: ReadonlyMap<string, string>;
  /** Its text now. */
  readonly text: string;
}

/** What a change of the file means for a running broker. */
export type ConfigChange =
  | {
      readonly ok: true;
      /** Takes effect at once. */
      readonly identities: IdentitiesConfig;
      /** The keys of everything else that is not as it was at the start: `log_level`, `tokens.ledger`. Sorted. */
      readonly atNextStart: readonly string[];
    }
  | {
      readonly ok: false;
      /** What is wrong, a sentence or two each. Nothing of the file takes effect. */
      readonly mistakes: readonly string[];
    };

/**
 * Decides what a changed file means: its peers and trusted issuers take effect at once, everything else at the next
 * start, and a file with mistakes changes nothing. Pure.
 *
 * @example
 * ```ts
 * decideChange({ env, path: 'broker.yaml', before: new Map([['log_level', 'info']]), text: 'log_level: debug' });
 * // { ok: true, identities: { issuers: [], peers: [] }, atNextStart: ['log_level'] }
 * ```
 */
export function decideChange({ env, path, before, text }: ChangedFile): ConfigChange {
  const file = parseConfigFile(text, path);
  const next = check(env, file);
  if (!next.ok) return next;
  const now = keysOf(file);
  // Workload tokens stay those for the URL that the broker was started with.
  const publicUrl = before.get(PUBLIC_URL);
  const running = now.get(PUBLIC_URL) === publicUrl ? next : check(env, withUrl(file, publicUrl));
  if (running.ok) return { ...running, atNextStart: differences(env, before, now) };
  const until = `${PUBLIC_URL} in ${path} takes effect at the next start. Until then: `;
  return { ok: false, mistakes: running.mistakes.map((line) => `${until}${line}`) };
}

type Checked =
  | { readonly ok: true; readonly identities: IdentitiesConfig }
  | Extract<ConfigChange, { readonly ok: false }>;

function check(env: NodeJS.ProcessEnv, file: ConfigFile): Checked {
  try {
    return { ok: true, identities: checkSettings({ env, file }).identities };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return { ok: false, mistakes: error.lines };
  }
}

const PUBLIC_URL = fileKey('BROKER_PUBLIC_URL');

function withUrl(file: ConfigFile, url: string | undefined): ConfigFile {
  const texts = new Map(file.texts);
  if (url === undefined) texts.delete('BROKER_PUBLIC_URL');
  else texts.set('BROKER_PUBLIC_URL', url);
  return { ...file, texts };
}

/** The keys that differ. What the environment sets has no effect in a file. */
function differences(
  env: NodeJS.ProcessEnv,
  before: ReadonlyMap<string, string>,
  now: ReadonlyMap<string, string>,
): readonly string[] {
  const overridden = new Set(
    SETTING_NAMES.filter((name) => environmentText(env, name) !== '').map(fileKey),
  );
  return [...new Set([...before.keys(), ...now.keys()])]
    .filter((key) => !overridden.has(key) && before.get(key) !== now.get(key))
    .toSorted();
}
