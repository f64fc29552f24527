import type { ConfigFile } from '../config/check-settings.js';
import { ConfigError, type ConfigMistake } from '../config/config-error.js';
import { readConfigFile } from '../config/load-config.js';
import { DEFAULT_NAME, type BrokerConfig, type TokenConfig } from '../config/broker-config.js';
import { fileKey, type SettingName } from '../config/settings.js';
import { isJsonObject, type JsonObject } from '../tokens/json.js';
import { checkFunctionConfig, requireOnePeerEach } from './function-start.js';

/** Where a stack is deployed, and what its parameters say. */
interface DeploymentOptions {
  /** What the names of the stack's secrets begin with, as in `service-token-broker/prod`. */
  readonly prefix: string;
  /** The variables that the stack gives its functions, and by which parameter; the file may not set them again. */
  readonly parameters: Readonly<Partial<Record<SettingName, string>>>;
  /** The values of those that are given. */
  readonly env: Readonly<Partial<Record<SettingName, string>>>;
}

/** A service token beside `default`, and what the stack makes for it. */
interface DeployedToken {
  readonly name: string;
  /** The name of its token secret. */
  readonly secret: string;
  /** `rotation.cron`, where its entry has one. */
  readonly cron?: string;
}

/** A provider beside `default`. */
interface DeployedProvider {
  readonly name: string;
  /** The name of its credentials secret. */
  readonly credentialsSecret: string;
  /** The ARN of the KMS key that signs its client assertions. */
  readonly kmsKeyArn?: string;
  /** The audience of the identity token that AWS is asked for. */
  readonly awsTokenAudience?: string;
}

/** What `serverless.yml` makes of the broker's configuration file. */
export interface Deployment {
  /** The file as the functions read it: JSON, with the name of every secret. */
  readonly json: string;
  readonly tokens: readonly DeployedToken[];
  readonly providers: readonly DeployedProvider[];
  /** The ARNs of the roles and users that are peers by AWS IAM. */
  readonly iamPeers: readonly string[];
}

/**
 * Reads the broker's configuration file for a deployment on AWS, by the rules that the functions themselves have. The names
 * of the secrets may be left out: the stack makes them, each under `prefix`.
 *
 * @param path of a YAML file.
 * @example
 * ```ts
 * const deployment = readDeployment('broker.yml', { prefix: 'service-token-broker/prod', parameters, env });
 * console.log(deployment.tokens); // [{ name: 'ledger', secret: 'service-token-broker/prod/tokens/ledger' }]
 * ```
 * @throws {ConfigError} `CONFIG_INVALID` with every mistake at once, each with its place in the file.
 */
export function readDeployment(path: string, options: DeploymentOptions): Deployment {
  const { prefix, parameters, env } = options;
  const file = readConfigFile(path);
  const { tokens, providers, ...others } = file.sections ?? {};
  const reader = new DeploymentReader(path, prefix);
  for (const name of file.texts.keys()) reader.flat(name, parameters[name]);
  const sections = {
    ...others,
    ...(providers !== undefined && { providers: reader.providers(providers) }),
    ...(tokens !== undefined && { tokens: reader.tokens(tokens) }),
  };
  reader.issuers(others.trusted_issuers);
  const named: ConfigFile = {
    ...file,
    sections,
    mistakes: [...file.mistakes, ...reader.mistakes],
  };
  const config = checkFunctionConfig(
    {
      BROKER_TOKEN_SECRET_ID: `${prefix}/token`,
      BROKER_CREDENTIALS_SECRET_ID: `${prefix}/credentials`,
      ...env,
    },
    named,
  );
  requireOnePeerEach(config);
  requireUtc(config, path);
  const further = config.tokens.filter(({ name }) => name !== DEFAULT_NAME);
  return {
    json: JSON.stringify({
      ...Object.fromEntries([...file.texts].map(([name, text]) => [fileKey(name), text])),
      ...sections,
    }),
    tokens: further.map(({ name, secretId }) => deployedToken(name, secretId, tokens)),
    providers: providersOf(config.tokens),
    iamPeers: iamPeersOf(others.peers),
  };
}

/** Secrets Manager reads its schedules in UTC. */
function requireUtc({ tokens }: BrokerConfig, path: string): void {
  const mistakes = tokens
    .filter(({ rotation }) => rotation.timeZone !== 'UTC')
    .map(({ name, rotation }) => ({
      name: 'BROKER_ROTATION_TIME_ZONE',
      source: path,
      given: `"${rotation.timeZone}"`,
      problem: `Secrets Manager rotates the token "${name}", and reads its schedules in UTC alone`,
      allowed: 'UTC; or rotate by brokers in containers, which know time zones',
    }));
  if (mistakes.length > 0) throw new ConfigError(mistakes);
}

/** The words of an error of {@link readDeployment}, one mistake each; `undefined` for any other error. */
export function mistakesOf(error: unknown): readonly string[] | undefined {
  return error instanceof ConfigError ? error.lines : undefined;
}

function providersOf(tokens: readonly TokenConfig[]): readonly DeployedProvider[] {
  const known = new Map<string, DeployedProvider>();
  for (const { providerName: name, credentialsSecretId, provider } of tokens) {
    const { kmsKeyId: kmsKeyArn, awsTokenAudience } = provider;
    if (name === DEFAULT_NAME) continue;
    known.set(name, {
      name,
      credentialsSecret: credentialsSecretId,
      ...(kmsKeyArn !== undefined && { kmsKeyArn }),
      ...(awsTokenAudience !== undefined && { awsTokenAudience }),
    });
  }
  return [...known.values()];
}

/** As written, with their paths, which the configuration drops and AWS needs. The section is checked already. */
function iamPeersOf(peers: unknown): readonly string[] {
  return Object.values((peers ?? {}) as Readonly<Record<string, PeerEntry>>).flatMap(
    ({ identities }) => identities.flatMap(({ iam }) => iam ?? []),
  );
}

interface PeerEntry {
  readonly identities: readonly { readonly iam?: string }[];
}

function deployedToken(name: string, secret: string, tokens: unknown): DeployedToken {
  const entry = membersOf(membersOf(tokens)[name]);
  const cron = membersOf(entry['rotation'])['cron'] ?? entry['rotation.cron'];
  return typeof cron === 'string' ? { name, secret, cron } : { name, secret };
}

function membersOf(value: unknown): JsonObject {
  return isJsonObject(value) ? value : {};
}

/** What the function's package does not have, and the member of a provider or a trusted issuer that names it. */
const FILES = [
  'workload_token_file',
  'client_certificate_file',
  'client_key_file',
  'ca_file',
  'token_file',
];

/** Holds a file against what the stack makes, and fills in the names of its secrets. */
class DeploymentReader {
  readonly mistakes: ConfigMistake[] = [];

  constructor(
    private readonly path: string,
    private readonly prefix: string,
  ) {}

  #wrong(at: string, problem: string, allowed: string): void {
    const sentence = `${at} in ${this.path}: ${problem}`;
    this.mistakes.push({ name: 'BROKER_CONFIG', source: this.path, problem, sentence, allowed });
  }

  /** A flat setting describes the whole process, or the token `default`, which the parameters do. */
  flat(name: SettingName, parameter: string | undefined): void {
    if (parameter === undefined) return;
    this.#wrong(fileKey(name), `the stack sets it, by ${parameter}`, 'one of the two places');
  }

  tokens(section: unknown): unknown {
    if (!isJsonObject(section)) return section;
    if (!Object.hasOwn(section, DEFAULT_NAME)) {
      this.#wrong('tokens', 'it has no "default"', 'default: {}, which the parameters describe');
    }
    return Object.fromEntries(
      Object.entries(section).map(([name, entry]) => {
        const at = `tokens.${name}`;
        if (name === DEFAULT_NAME) return [name, this.#default(at, entry)];
        return [name, this.#named(at, entry, 'secret', `${this.prefix}/tokens/${name}`)];
      }),
    );
  }

  /** Its provider is that of the parameters; its secret is given to the functions by its ARN. */
  #default(at: string, entry: unknown): unknown {
    const members = isJsonObject(entry) ? { ...entry } : {};
    this.#named(at, members, 'secret', `${this.prefix}/token`);
    delete members['secret'];
    if (members['provider'] === DEFAULT_NAME) delete members['provider'];
    for (const member of Object.keys(members)) {
      this.#wrong(`${at}.${member}`, 'the parameters of the stack describe this token', '{}');
    }
    return { provider: DEFAULT_NAME };
  }

  providers(section: unknown): unknown {
    if (!isJsonObject(section)) return section;
    return Object.fromEntries(
      Object.entries(section).map(([name, entry]) => {
        const at = `providers.${name}`;
        this.#files(at, entry);
        const kmsKeyId = isJsonObject(entry) ? entry['kms_key_id'] : undefined;
        if (typeof kmsKeyId === 'string' && !KMS_KEY_ARN.test(kmsKeyId)) {
          this.#wrong(
            `${at}.kms_key_id`,
            'a policy names the key by its ARN',
            'the ARN of a KMS key',
          );
        }
        const secret = `${this.prefix}/credentials/${name}`;
        return [name, this.#named(at, entry, 'credentials_secret', secret)];
      }),
    );
  }

  issuers(section: unknown): void {
    if (!isJsonObject(section)) return;
    for (const [name, entry] of Object.entries(section))
      this.#files(`trusted_issuers.${name}`, entry);
  }

  #files(at: string, entry: unknown): void {
    if (!isJsonObject(entry)) return;
    for (const member of FILES.filter((name) => Object.hasOwn(entry, name))) {
      this.#wrong(`${at}.${member}`, 'the package of a function has no such file', 'nothing');
    }
  }

  /** The entry with the name of its secret, which may be given only as the stack makes it. */
  #named(at: string, entry: unknown, member: string, secret: string): unknown {
    if (entry === null || entry === undefined) return { [member]: secret };
    if (!isJsonObject(entry)) return entry;
    const given = entry[member];
    if (given !== undefined && given !== secret) {
      this.#wrong(
        `${at}.${member}`,
        'the stack makes a secret of another name',
        `${secret}, or nothing`,
      );
    }
    return { ...entry, [member]: secret };
  }
}

const KMS_KEY_ARN = /^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key\/[\w-]+$/;
