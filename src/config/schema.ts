import * as z from 'zod/mini';
import {
  SETTING_NAMES,
  settingOf,
  SETTINGS,
  UNDECIDABLE_PROFILES,
  type SettingName,
} from './settings.js';
import { isSecureOrLoopback } from './values.js';

type ValueOf<Name extends SettingName> = z.output<(typeof SETTINGS)[Name]['reads']>;

/** The settings without a default text: they may be missing. */
type OptionalName = {
  [Name in SettingName]: (typeof SETTINGS)[Name] extends { readonly default: string }
    ? never
    : Name;
}[SettingName];

/** Every setting, read and checked, by its variable's name. */
export type Settings = { readonly [Name in Exclude<SettingName, OptionalName>]: ValueOf<Name> } & {
  readonly [Name in OptionalName]?: ValueOf<Name>;
};

/** A rule between settings. It is checked when the settings it names are valid, whatever the others are. */
interface Rule {
  readonly of: SettingName;
  readonly and: readonly SettingName[];
  readonly holds: (settings: Settings) => boolean;
  readonly problem: string;
}

const URL_SETTINGS = [
  'BROKER_PUBLIC_URL',
  'BROKER_ISSUER',
  'BROKER_TOKEN_ENDPOINT',
  'BROKER_JWKS_URI',
] as const;

const RULES: readonly Rule[] = [
  ...URL_SETTINGS.map((of): Rule => ({
    of,
    and: ['BROKER_ALLOW_INSECURE_HTTP'],
    holds: (settings) => {
      const url = settings[of];
      return url === undefined || settings.BROKER_ALLOW_INSECURE_HTTP || isSecureOrLoopback(url);
    },
    problem: 'it is http, and not on this machine',
  })),
  {
    of: 'BROKER_AWS_FALLBACK_REGIONS',
    and: ['BROKER_SECRET_STORE'],
    holds: (settings) =>
      settings.BROKER_AWS_FALLBACK_REGIONS === undefined || settings.BROKER_SECRET_STORE === 'aws',
    problem: 'the embedded store is in no Region',
  },
  {
    of: 'BROKER_AWS_ROLE_ARN',
    and: ['BROKER_SECRET_STORE'],
    holds: (settings) =>
      settings.BROKER_AWS_ROLE_ARN === undefined || settings.BROKER_SECRET_STORE === 'aws',
    problem: 'it is for secrets at AWS, and BROKER_SECRET_STORE is embedded',
  },
  needsRole('BROKER_AWS_EXTERNAL_ID'),
  needsRole('BROKER_AWS_ROLE_SESSION_NAME'),
  {
    of: 'BROKER_MASTER_KEY_KMS_ID',
    and: ['BROKER_SECRET_STORE'],
    holds: (settings) =>
      settings.BROKER_MASTER_KEY_KMS_ID === undefined ||
      settings.BROKER_SECRET_STORE === 'embedded',
    problem: 'it counts with BROKER_SECRET_STORE=embedded alone',
  },
  distinct('BROKER_TOKEN_SECRET_ID', 'BROKER_CREDENTIALS_SECRET_ID'),
  distinct('BROKER_PEERS_SECRET_ID', 'BROKER_CREDENTIALS_SECRET_ID'),
  distinct('BROKER_PEERS_SECRET_ID', 'BROKER_TOKEN_SECRET_ID'),
  needsMethod('BROKER_KMS_KEY_ID', 'kms'),
  needsMethod('BROKER_WORKLOAD_TOKEN_FILE', 'workload_token'),
  needsMethod('BROKER_AWS_TOKEN_AUDIENCE', 'workload_token'),
  needsMethod('BROKER_CLIENT_CERTIFICATE_FILE', 'mtls'),
  {
    of: 'BROKER_KMS_KEY_ID',
    and: ['BROKER_CLIENT_AUTHENTICATION'],
    holds: (settings) =>
      settings.BROKER_CLIENT_AUTHENTICATION !== 'kms' || settings.BROKER_KMS_KEY_ID !== undefined,
    problem: 'it is missing, and BROKER_CLIENT_AUTHENTICATION is kms',
  },
  {
    of: 'BROKER_WORKLOAD_TOKEN_FILE',
    and: ['BROKER_CLIENT_AUTHENTICATION', 'BROKER_AWS_TOKEN_AUDIENCE'],
    holds: (settings) =>
      settings.BROKER_CLIENT_AUTHENTICATION !== 'workload_token' ||
      (settings.BROKER_WORKLOAD_TOKEN_FILE === undefined) !==
        (settings.BROKER_AWS_TOKEN_AUDIENCE === undefined),
    problem:
      'BROKER_CLIENT_AUTHENTICATION is workload_token, which needs either it or BROKER_AWS_TOKEN_AUDIENCE',
  },
  {
    of: 'BROKER_CLIENT_KEY_FILE',
    and: ['BROKER_CLIENT_CERTIFICATE_FILE'],
    holds: (settings) =>
      (settings.BROKER_CLIENT_KEY_FILE === undefined) ===
      (settings.BROKER_CLIENT_CERTIFICATE_FILE === undefined),
    problem: 'a certificate and its key belong together: one of the two files is missing',
  },
  {
    of: 'BROKER_TLS_KEY_FILE',
    and: ['BROKER_TLS_CERT_FILE'],
    holds: (settings) =>
      (settings.BROKER_TLS_KEY_FILE === undefined) ===
      (settings.BROKER_TLS_CERT_FILE === undefined),
    problem: 'a certificate and its key belong together: one of the two files is missing',
  },
  {
    of: 'BROKER_TLS_CLIENT_CA_FILE',
    and: ['BROKER_TLS_CERT_FILE'],
    holds: (settings) =>
      settings.BROKER_TLS_CLIENT_CA_FILE === undefined ||
      settings.BROKER_TLS_CERT_FILE !== undefined,
    problem: 'client certificates come by TLS: BROKER_TLS_CERT_FILE is missing',
  },
  {
    of: 'BROKER_PEERS_SECRET_ID',
    and: [],
    holds: ({ BROKER_PEERS_SECRET_ID: ids }) =>
      !ids.some((id, index) => ids.slice(0, index).some((other) => sameSecret(id, other))),
    problem: 'an entry names the same secret as another',
  },
  {
    of: 'BROKER_SERVICE_CLIENT_IDS',
    and: ['BROKER_PROFILE'],
    holds: (settings) =>
      !UNDECIDABLE_PROFILES.has(settings.BROKER_PROFILE) ||
      settings.BROKER_SERVICE_CLIENT_IDS !== undefined,
    problem: "it is missing, and the profile's claims alone do not tell a service from a customer",
  },
  {
    of: 'BROKER_MIN_REMAINING_SECONDS',
    and: ['BROKER_CACHE_TTL_SECONDS', 'BROKER_CLOCK_SKEW_SECONDS'],
    holds: (settings) =>
      settings.BROKER_MIN_REMAINING_SECONDS >
      settings.BROKER_CACHE_TTL_SECONDS + settings.BROKER_CLOCK_SKEW_SECONDS,
    problem: 'caches would still hold the old token when it expires',
  },
  {
    of: 'BROKER_MANAGEMENT_PORT',
    and: ['PORT'],
    holds: (settings) => settings.BROKER_MANAGEMENT_PORT !== settings.PORT || settings.PORT === 0,
    problem: 'it is the same as PORT',
  },
  {
    of: 'BROKER_DEV_PROVIDER_PORT',
    and: ['PORT'],
    holds: (settings) => settings.BROKER_DEV_PROVIDER_PORT !== settings.PORT || settings.PORT === 0,
    problem: 'it is the same as PORT',
  },
];

/** A setting that another client authentication would silently ignore. */
function needsMethod(of: SettingName, method: Settings['BROKER_CLIENT_AUTHENTICATION']): Rule {
  return {
    of,
    and: ['BROKER_CLIENT_AUTHENTICATION'],
    holds: (settings) =>
      settings[of] === undefined || settings.BROKER_CLIENT_AUTHENTICATION === method,
    problem: `it counts with BROKER_CLIENT_AUTHENTICATION=${method} alone`,
  };
}

/** A setting of the session, which nothing else has. */
function needsRole(of: SettingName): Rule {
  return {
    of,
    and: ['BROKER_AWS_ROLE_ARN'],
    holds: (settings) => settings[of] === undefined || settings.BROKER_AWS_ROLE_ARN !== undefined,
    problem: 'it counts with BROKER_AWS_ROLE_ARN alone',
  };
}

function distinct(of: SettingName & `${string}_SECRET_ID`, other: typeof of): Rule {
  return {
    of,
    and: [other],
    holds: (settings) =>
      ![settings[of]]
        .flat()
        .some((id) => [settings[other]].flat().some((name) => sameSecret(id, name))),
    problem: `it names the same secret as ${other}`,
  };
}

/** True when two ids name one secret. A name and an ARN are compared by name, as of one account and Region. */
export function sameSecret(one: string, other: string): boolean {
  if (one === other) return true;
  if (isArn(one) === isArn(other)) return false;
  const [arn, name] = isArn(one) ? [one, other] : [other, one];
  // An ARN ends in the name, and six random characters unless it is a partial one.
  const ending = arn.split(':').slice(6).join(':');
  return ending === name || ending.replace(/-[A-Za-z0-9]{6}$/, '') === name;
}

/** What an id is compared by: ids that {@link sameSecret} takes for one share at least one of these. */
export function secretNames(id: string): readonly string[] {
  if (!isArn(id)) return [id];
  const ending = id.split(':').slice(6).join(':');
  return [id, ending, ending.replace(/-[A-Za-z0-9]{6}$/, '')];
}

function isArn(id: string): boolean {
  return id.startsWith('arn:');
}

function fieldSchema(name: SettingName): z.ZodMiniType<unknown, string | undefined> {
  const setting = settingOf(name);
  return setting.default === undefined ? z.optional(setting.reads) : setting.reads;
}

const fields = z.object(Object.fromEntries(SETTING_NAMES.map((name) => [name, fieldSchema(name)])));

/** Takes the text of every setting, defaults included, and gives {@link Settings}. */
export const SETTINGS_SCHEMA = RULES.reduce<z.ZodMiniType>(
  (schema, { of, and, holds, problem }) =>
    schema.check(
      z.refine((settings) => holds(settings as Settings), {
        path: [of],
        error: problem,
        when: ({ issues }) =>
          !issues.some(({ path }) => [of, ...and].includes(path?.[0] as SettingName)),
      }),
    ),
  fields,
) as z.ZodMiniType<Settings, Readonly<Record<string, string | undefined>>>;
