import type * as z from 'zod/mini';
import { isTokenName } from '../peers/peers.js';
import { isJsonObject, trimPasted, type JsonObject } from '../tokens/json.js';
import { DEFAULT_NAME, tokenOf, type TokenConfig } from './broker-config.js';
import { shown, suggest, type ConfigMistake } from './config-error.js';
import { sameSecret, secretNames, SETTINGS_SCHEMA, type Settings } from './schema.js';
import { settingOf, type SettingName } from './settings.js';

/** The text of each setting, or none. */
export type SettingTexts = Readonly<Partial<Record<SettingName, string>>>;

/** What an entry of `providers:` may have, and the setting that reads it. */
export const PROVIDER_MEMBERS = {
  issuer: 'BROKER_ISSUER',
  token_endpoint: 'BROKER_TOKEN_ENDPOINT',
  jwks_uri: 'BROKER_JWKS_URI',
  credentials_secret: 'BROKER_CREDENTIALS_SECRET_ID',
  client_id: 'BROKER_CLIENT_ID',
  client_authentication: 'BROKER_CLIENT_AUTHENTICATION',
  client_assertion_audience: 'BROKER_CLIENT_ASSERTION_AUDIENCE',
  client_assertion_key_id: 'BROKER_CLIENT_ASSERTION_KEY_ID',
  kms_key_id: 'BROKER_KMS_KEY_ID',
  kms_algorithm: 'BROKER_KMS_ALGORITHM',
  workload_token_file: 'BROKER_WORKLOAD_TOKEN_FILE',
  aws_token_audience: 'BROKER_AWS_TOKEN_AUDIENCE',
  aws_token_algorithm: 'BROKER_AWS_TOKEN_ALGORITHM',
  client_certificate_file: 'BROKER_CLIENT_CERTIFICATE_FILE',
  client_key_file: 'BROKER_CLIENT_KEY_FILE',
  allow_insecure_http: 'BROKER_ALLOW_INSECURE_HTTP',
  profile: 'BROKER_PROFILE',
  service_client_ids: 'BROKER_SERVICE_CLIENT_IDS',
  customer_client_ids: 'BROKER_CUSTOMER_CLIENT_IDS',
  other_audiences: 'BROKER_OTHER_AUDIENCES',
  token_typ: 'BROKER_TOKEN_TYP',
  scope_claims: 'BROKER_SCOPE_CLAIMS',
  clock_skew_seconds: 'BROKER_CLOCK_SKEW_SECONDS',
} as const satisfies Readonly<Record<string, SettingName>>;

/** What an entry of `tokens:` may have besides `provider`, and the setting that reads it. */
export const TOKEN_MEMBERS = {
  secret: 'BROKER_TOKEN_SECRET_ID',
  audience: 'BROKER_AUDIENCE',
  resource: 'BROKER_RESOURCE',
  scope: 'BROKER_SCOPE',
  'rotation.cron': 'BROKER_ROTATION_CRON',
  'rotation.time_zone': 'BROKER_ROTATION_TIME_ZONE',
  'rotation.min_remaining_seconds': 'BROKER_MIN_REMAINING_SECONDS',
  'rotation.manual_rotation_seconds': 'BROKER_MANUAL_ROTATION_SECONDS',
} as const satisfies Readonly<Record<string, SettingName>>;

/** Flat settings that hold for every entry that does not give its own. The others describe `default` alone. */
export const INHERITED: ReadonlySet<SettingName> = new Set<SettingName>([
  'BROKER_ALLOW_INSECURE_HTTP',
  'BROKER_CLOCK_SKEW_SECONDS',
  'BROKER_ROTATION_CRON',
  'BROKER_ROTATION_TIME_ZONE',
  'BROKER_MIN_REMAINING_SECONDS',
  'BROKER_MANUAL_ROTATION_SECONDS',
]);

/** The flat settings, as far as tokens are made from them. */
export interface FlatSettings {
  /** Defaults included. */
  readonly texts: SettingTexts;
  /** What somebody gave, in the environment or in the file. */
  readonly given: ReadonlySet<SettingName>;
  /** The default of a setting, as this process has it. */
  readonly defaultOf: (name: SettingName) => string | undefined;
}

/** The sections of the file that name providers and tokens, as parsed. */
export interface TokenSections {
  /** The file's name in mistakes. */
  readonly path: string;
  readonly providers?: unknown;
  readonly tokens?: unknown;
}

/** What {@link readTokens} found. With mistakes, the tokens are not complete. */
interface ReadTokens {
  readonly tokens: readonly TokenConfig[];
  readonly mistakes: readonly ConfigMistake[];
  readonly warnings: readonly string[];
}

/**
 * Reads the tokens that the sections `providers:` and `tokens:` name. Each member is read by the setting of the same
 * meaning, with the same rules. Without `tokens:` there is one token, `default`. Pure.
 */
export function readTokens(sections: TokenSections, flat: FlatSettings): ReadTokens {
  return new TokenReader(sections.path, flat).read(sections);
}

/** The provider or the token of an entry, as far as its own texts go. */
interface Entry {
  readonly name: string;
  /** `providers.auth0`, `tokens.ledger`. */
  readonly at: string;
  readonly texts: ReadonlyMap<SettingName, string>;
  /** The value of `provider`, in a token. */
  readonly provider?: string | undefined;
}

/** A token's settings, and where each of them is written. */
interface Draft {
  readonly token: Entry;
  readonly providerName: string;
  readonly settings: Settings;
  readonly placeOf: (name: SettingName) => string;
}

const NAME_ALLOWED =
  'lower-case letters, digits and hyphens, at most 40, beginning and ending with a letter or digit';

const MEMBER_OF: ReadonlyMap<SettingName, string> = new Map(
  [...Object.entries(PROVIDER_MEMBERS), ...Object.entries(TOKEN_MEMBERS)].map(([key, name]) => [
    name,
    key,
  ]),
);
const OF_PROVIDER: ReadonlySet<SettingName> = new Set(Object.values(PROVIDER_MEMBERS));
const OF_TOKEN: ReadonlySet<SettingName> = new Set(Object.values(TOKEN_MEMBERS));

class TokenReader {
  readonly #mistakes: ConfigMistake[] = [];
  readonly #warnings: string[] = [];
  readonly #path: string;
  readonly #flat: FlatSettings;

  constructor(path: string, flat: FlatSettings) {
    this.#path = path;
    this.#flat = flat;
  }

  read(sections: TokenSections): ReadTokens {
    const providers =
      sections.providers === undefined
        ? []
        : this.#entries('providers', sections.providers, PROVIDER_MEMBERS);
    const tokens =
      sections.tokens === undefined
        ? [{ name: DEFAULT_NAME, at: `tokens.${DEFAULT_NAME}`, texts: new Map() }]
        : this.#entries('tokens', sections.tokens, TOKEN_MEMBERS);
    const named = new Map(providers.map((entry) => [entry.name, entry]));
    if (named.has(DEFAULT_NAME)) {
      this.#mistake(`providers.${DEFAULT_NAME}`, 'the flat settings describe that provider', {
        allowed: 'any other name',
      });
    }
    // A provider's own mistakes, also of one that no token uses.
    for (const provider of providers) this.#check(this.#textsOf(provider), provider, undefined);
    const drafts = tokens.flatMap((token) => this.#draft(token, named) ?? []);
    this.#checkSecrets(drafts);
    this.#checkTargets(drafts);
    this.#warn(drafts, providers);
    return {
      tokens: drafts.map(({ token, providerName, settings }) =>
        tokenOf(token.name, providerName, settings),
      ),
      mistakes: this.#mistakes,
      warnings: this.#warnings,
    };
  }

  #mistake(
    name: string,
    problem: string,
    more: { readonly given?: string; readonly allowed: string },
  ): void {
    const { given, allowed } = more;
    this.#mistakes.push({
      name,
      source: this.#path,
      ...(given !== undefined && { given }),
      problem,
      allowed,
    });
  }

  /** The entries of a section, by their names. */
  #entries(
    section: 'providers' | 'tokens',
    content: unknown,
    members: Readonly<Record<string, SettingName>>,
  ): readonly Entry[] {
    if (!isJsonObject(content) || Object.keys(content).length === 0) {
      this.#mistake(section, 'it names none', {
        allowed: `a name with its settings below it for each of the ${section}`,
      });
      return [];
    }
    return Object.entries(content).flatMap(([name, value]) => {
      if (!isTokenName(name)) {
        this.#mistake(section, 'one of its names cannot be used', {
          given: shown(name),
          allowed: NAME_ALLOWED,
        });
        return [];
      }
      const at = `${section}.${name}`;
      const entry = value ?? {};
      if (isJsonObject(entry)) return [this.#entry(name, at, entry, members)];
      this.#mistake(at, 'it has no settings', { allowed: 'keys and values below the name' });
      return [];
    });
  }

  #entry(
    name: string,
    at: string,
    content: JsonObject,
    members: Readonly<Record<string, SettingName>>,
  ): Entry {
    const isToken = members === TOKEN_MEMBERS;
    const known = [...Object.keys(members), ...(isToken ? ['provider'] : [])];
    const texts = new Map<SettingName, string>();
    let provider: string | undefined;
    for (const [key, value] of flattened(content, isToken ? 'rotation' : undefined)) {
      const setting = Object.hasOwn(members, key) ? members[key] : undefined;
      const text = textOf(value);
      if (!known.includes(key)) this.#unknownMember(at, key, known);
      else if (text === undefined) this.#nested(`${at}.${key}`);
      else if (setting === undefined) provider = text === '' ? undefined : text;
      else if (text !== '') texts.set(setting, text);
    }
    return { name, at, texts, ...(isToken && { provider }) };
  }

  #unknownMember(at: string, key: string, known: readonly string[]): void {
    const near = suggest(key, known);
    const given = JSON.stringify(`${at}.${key.slice(0, 64)}`);
    const problem = `this key is unknown${near === undefined ? '' : `; did you mean "${near}"?`}`;
    this.#mistakes.push({
      name: 'BROKER_CONFIG',
      source: this.#path,
      given,
      problem,
      sentence: `${this.#path} has the key ${given}, which is unknown${near === undefined ? '' : `; did you mean "${near}"?`}`,
      allowed: known.join(', '),
    });
  }

  #nested(name: string): void {
    this.#mistake(name, 'it is neither a single value nor a list of single values without commas', {
      allowed: 'a single value, or a list where several are allowed',
    });
  }

  /** The texts of an entry over those that hold for it: the flat ones for `default`, else the inherited ones. */
  #textsOf(entry: Entry, base: SettingTexts = this.#flat.texts): SettingTexts {
    const own = entry.at.startsWith('tokens.') ? OF_TOKEN : OF_PROVIDER;
    const texts: Partial<Record<SettingName, string>> = { ...base };
    const isFlat = entry.name === DEFAULT_NAME && own === OF_TOKEN;
    for (const name of own) {
      const inherited = isFlat || INHERITED.has(name);
      const fallback = own === OF_TOKEN ? undefined : this.#flat.defaultOf(name);
      const text = entry.texts.get(name) ?? (inherited ? base[name] : fallback);
      if (text === undefined) delete texts[name];
      else texts[name] = text;
    }
    return texts;
  }

  #draft(token: Entry, named: ReadonlyMap<string, Entry>): Draft | undefined {
    const providerName = this.#providerOf(token, named);
    if (providerName === undefined) return undefined;
    const provider = named.get(providerName);
    const texts = this.#textsOf(token, provider && this.#textsOf(provider));
    const settings = this.#check(texts, provider, token);
    return settings && { token, providerName, settings, placeOf: placesOf(provider, token) };
  }

  /** The name of a token's provider: what it says, or the only one there is; for `default` also the flat settings'. */
  #providerOf(token: Entry, named: ReadonlyMap<string, Entry>): string | undefined {
    const isFlatGiven = [...OF_PROVIDER].some(
      (name) => !INHERITED.has(name) && this.#flat.given.has(name),
    );
    const all = [...named.keys(), ...(isFlatGiven || named.size === 0 ? [DEFAULT_NAME] : [])];
    const { provider, at, name: tokenName } = token;
    const [only] = all;
    const allowed = `one of ${[...new Set([...named.keys(), DEFAULT_NAME])].join(', ')}`;
    if (provider === undefined) {
      if (all.length === 1) return only;
      if (tokenName === DEFAULT_NAME && isFlatGiven) return DEFAULT_NAME;
      this.#mistake(`${at}.provider`, 'it is missing, and there are several providers', {
        allowed: `one of ${all.join(', ')}`,
      });
      return undefined;
    }
    if (provider === DEFAULT_NAME || named.has(provider)) return provider;
    const near = suggest(provider, all);
    const hint = near === undefined ? '' : `; did you mean "${near}"?`;
    this.#mistake(`${at}.provider`, `there is no such provider${hint}`, {
      given: shown(provider),
      allowed,
    });
    return undefined;
  }

  /** Checks the texts of a token, or of a provider alone. @returns the settings, when nothing is wrong with them. */
  #check(
    texts: SettingTexts,
    provider: Entry | undefined,
    token: Entry | undefined,
  ): Settings | undefined {
    const result = SETTINGS_SCHEMA.safeParse(token === undefined ? withToken(texts) : texts);
    if (result.success) return result.data;
    const placeOf = placesOf(provider, token);
    for (const issue of result.error.issues) {
      // Every path starts with the setting's name: the schema is an object of them.
      const name = issue.path[0] as SettingName;
      const place = placeOf(name);
      // A flat setting is checked, and reported, by itself; a rule may also fail by what it meets here.
      if (place === name && (issue.code !== 'custom' || this.#failsAlone(name))) continue;
      this.#mistakes.push(this.#mistakeOf(issue, name, texts[name], placeOf));
    }
    return undefined;
  }

  /** Whether a flat setting is a mistake among the flat settings already. */
  #failsAlone(name: SettingName): boolean {
    this.#flatIssues ??= new Set(
      SETTINGS_SCHEMA.safeParse(this.#flat.texts).error?.issues.map(({ path }) => path[0]),
    );
    return this.#flatIssues.has(name);
  }

  #flatIssues: ReadonlySet<unknown> | undefined;

  #mistakeOf(
    issue: z.core.$ZodIssue,
    name: SettingName,
    text: string | undefined,
    placeOf: Draft['placeOf'],
  ): ConfigMistake {
    const problem =
      issue.code === 'custom'
        ? // The rules speak of settings by their variables.
          issue.message.replaceAll(/\bBROKER_[A-Z_]+\b/g, (found) => placeOf(found as SettingName))
        : text === undefined
          ? 'it is missing'
          : undefined;
    return {
      name: placeOf(name),
      source: this.#path,
      ...(text !== undefined && { given: shown(text) }),
      ...(problem !== undefined && { problem }),
      allowed: settingOf(name).allowed,
    };
  }

  /** No two uses of one secret: a rotation would overwrite the other, or one provider get the other's credentials. */
  #checkSecrets(drafts: readonly Draft[]): void {
    const uses = new Map<string, string>();
    const known = new Map<string, string>();
    for (const { settings, placeOf } of drafts) {
      const credentials = placeOf('BROKER_CREDENTIALS_SECRET_ID');
      uses.set(credentials, settings.BROKER_CREDENTIALS_SECRET_ID);
    }
    for (const { settings, placeOf } of drafts) {
      uses.set(placeOf('BROKER_TOKEN_SECRET_ID'), settings.BROKER_TOKEN_SECRET_ID);
    }
    for (const [place, id] of uses) {
      const names = secretNames(id);
      const other = names
        .map((name) => known.get(name))
        .find((found) => found !== undefined && sameSecret(uses.get(found) ?? '', id));
      if (other === undefined) {
        for (const name of names) known.set(name, place);
        continue;
      }
      this.#mistake(place, `it names the same secret as ${other}`, {
        given: shown(id),
        allowed: 'the name or the ARN of a secret of its own',
      });
    }
  }

  /** Two tokens that ask one provider for the same are one token, minted and paid for twice. */
  #checkTargets(drafts: readonly Draft[]): void {
    const known = new Map<string, string>();
    for (const { token, providerName, settings } of drafts) {
      const {
        BROKER_AUDIENCE: audience,
        BROKER_SCOPE: scope,
        BROKER_RESOURCE: resource,
      } = settings;
      const target = JSON.stringify([providerName, audience, scope, resource?.toSorted()]);
      const other = known.get(target);
      if (other === undefined) known.set(target, token.at);
      else {
        this.#mistake(
          `${token.at}.audience`,
          `${other} asks the same provider for the same token`,
          {
            ...(audience !== undefined && { given: shown(audience) }),
            allowed: 'an audience, a resource or a scope that no other token of its provider has',
          },
        );
      }
    }
  }

  /** What somebody has written and nothing uses. */
  #warn(drafts: readonly Draft[], providers: readonly Entry[]): void {
    const used = new Set(drafts.map(({ providerName }) => providerName));
    for (const { name, at } of providers) {
      if (!used.has(name)) this.#warnings.push(`No token uses ${at} (${this.#path}).`);
    }
    const isIdle = (name: SettingName): boolean =>
      this.#flat.given.has(name) && !INHERITED.has(name);
    const hasDefault = drafts.some(({ token }) => token.name === DEFAULT_NAME);
    const idle = [
      ...(used.has(DEFAULT_NAME) ? [] : [...OF_PROVIDER].filter(isIdle)),
      ...(hasDefault ? [] : [...OF_TOKEN].filter(isIdle)),
    ];
    for (const name of idle) {
      const what = OF_PROVIDER.has(name) ? 'provider' : 'token';
      this.#warnings.push(
        `${name} has no effect: it describes the ${what} "${DEFAULT_NAME}", which ${this.#path} does not use.`,
      );
    }
  }
}

/** Where each setting of a token is written, or would be: a place in the file, or the flat setting's name. */
function placesOf(
  provider: Entry | undefined,
  token: Entry | undefined,
): (name: SettingName) => string {
  return (name) => {
    const entry = OF_PROVIDER.has(name) ? provider : OF_TOKEN.has(name) ? token : undefined;
    if (entry === undefined) return name;
    const isElsewhere = INHERITED.has(name) || (entry === token && entry.name === DEFAULT_NAME);
    return isElsewhere && !entry.texts.has(name) ? name : `${entry.at}.${MEMBER_OF.get(name)}`;
  };
}

/** A provider is checked alone with a token secret that collides with nothing. */
function withToken(texts: SettingTexts): SettingTexts {
  return { ...texts, BROKER_TOKEN_SECRET_ID: '-' };
}

/** Keys and values, those of one nested mapping with its name in front. */
function* flattened(content: JsonObject, nested: string | undefined): Iterable<[string, unknown]> {
  for (const [key, value] of Object.entries(content)) {
    if (key !== nested || !isJsonObject(value)) yield [key, value];
    else for (const [inner, own] of Object.entries(value)) yield [`${key}.${inner}`, own];
  }
}

/**
 * The text of a value in the file, as an environment variable would have it: a list is joined by commas. `undefined` for a
 * value that has none.
 */
export function textOf(value: unknown): string | undefined {
  if (value === null) return '';
  if (typeof value === 'string') return trimPasted(value);
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (!Array.isArray(value)) return undefined;
  const items = value.map((item: unknown) => (Array.isArray(item) ? undefined : textOf(item)));
  // A comma inside an item would split it.
  return items.every((item) => item !== undefined && !item.includes(','))
    ? items.join(',')
    : undefined;
}
