import { networkOf, type Authority, type Network } from '../../composition/network.js';
import { describeRoute } from '../../composition/proxy-agents.js';
import { instant } from '../../composition/terminal.js';
import type { BrokerConfig } from '../../config/broker-config.js';
import { BrokerError } from '../../tokens/errors.js';
import { parseUrl } from '../../tokens/http.js';
import { failed, ok, warning, type Finding } from './examination.js';

/** How many authorities `BROKER_CA_FILE` has, and until when the first one is valid. @throws {BrokerError} */
export async function examineAuthorities(config: BrokerConfig, now: number): Promise<Finding> {
  const network = await networkOf(config);
  return judgeAuthoritiesLife(network?.authorities ?? [], config.network.caFile ?? '', now);
}

/** Pure. @param now milliseconds since the Unix epoch. */
export function judgeAuthoritiesLife(
  authorities: readonly Authority[],
  path: string,
  now: number,
): Finding {
  const [first] = authorities.toSorted((one, other) => one.endsAt - other.endsAt);
  const count = authorities.length === 1 ? '1 authority' : `${authorities.length} authorities`;
  const found = `${count} in ${path}, besides those of Node.js`;
  if (first === undefined) return ok(`${found}.`);
  const end = `"${first.subject}" is valid until ${instant(first.endsAt)}`;
  return first.endsAt <= now
    ? warning(
        `${found}: ${end}, which is over.`,
        'Replace it in BROKER_CA_FILE, and start the broker again.',
      )
    : ok(`${found}: ${end}.`);
}

/** What the broker reaches, and what for. */
interface Destination {
  readonly what: string;
  readonly url: URL;
}

/** How each destination is reached, and whether the proxies let the broker through. @throws {BrokerError} */
export async function examineProxies(
  config: BrokerConfig,
  env: NodeJS.ProcessEnv,
): Promise<Finding> {
  const network = await networkOf(config);
  if (network === undefined) return ok('None is configured.');
  const destinations = destinationsOf(config, env);
  const refusals = new Map<string, BrokerError>();
  await Promise.all(
    [...new Map(destinations.map(({ url }) => [url.origin, url])).values()].map(async (url) => {
      const refusal = await refusalAt(network, url);
      if (refusal !== undefined) refusals.set(url.origin, refusal);
    }),
  );
  const details = destinations.map(
    ({ what, url }) => `${what}, ${url.host}: ${describeRoute(network.routeOf(url))}`,
  );
  const [refusal] = refusals.values();
  if (refusal !== undefined) {
    return { ...failed(refusal.message), details, code: refusal.code };
  }
  const through = destinations.filter(({ url }) => network.routeOf(url).proxy !== undefined);
  return through.length === 0 && destinations.length > 0
    ? { ...ok('A proxy is set, and nothing that the broker reaches goes through it.'), details }
    : { ...ok('What is reached through a proxy can be reached.'), details };
}

async function refusalAt(network: Network, url: URL): Promise<BrokerError | undefined> {
  try {
    await network.probe(url);
    return undefined;
  } catch (error) {
    if (error instanceof BrokerError) return error;
    // The destination's own failure, which other checks find.
    return undefined;
  }
}

/**
 * What the broker reaches, as far as the configuration says: the rest is in the credentials secret and in the provider's
 * metadata. Pure.
 */
export function destinationsOf(
  { tokens, secrets, identities }: Pick<BrokerConfig, 'identities' | 'secrets' | 'tokens'>,
  env: NodeJS.ProcessEnv,
): readonly Destination[] {
  const found: (readonly [what: string, url: string | undefined])[] = [];
  for (const { providerName, provider } of tokens) {
    const of = tokens.length > 1 ? ` of ${providerName}` : '';
    found.push(
      [`provider${of}`, provider.tokenEndpoint ?? provider.issuer],
      [`keys${of}`, provider.jwksUri ?? provider.issuer],
    );
  }
  for (const { jwksUri, name } of identities.issuers) found.push([`keys of ${name}`, jwksUri]);
  const isAws = secrets.store === 'aws';
  if (isAws) found.push(['AWS Secrets Manager', awsEndpoint('secretsmanager', env)]);
  if (isAws && secrets.awsRole !== undefined) found.push(['AWS STS', awsEndpoint('sts', env)]);
  if (tokens.some(({ provider }) => provider.kmsKeyId !== undefined)) {
    found.push(['AWS KMS', awsEndpoint('kms', env)]);
  }
  const destinations = new Map<string, Destination>();
  for (const [what, text = ''] of found) {
    const url = parseUrl(text);
    if (url !== undefined) destinations.set(`${what} ${url.host}`, { what, url });
  }
  return [...destinations.values()];
}

/** Where a service of AWS is, by the variables of the SDK; `undefined` where a profile names the Region. */
function awsEndpoint(
  service: 'kms' | 'secretsmanager' | 'sts',
  env: NodeJS.ProcessEnv,
): string | undefined {
  const variable = service === 'secretsmanager' ? 'SECRETS_MANAGER' : service.toUpperCase();
  const given = env[`AWS_ENDPOINT_URL_${variable}`] ?? env['AWS_ENDPOINT_URL'];
  const region = env['AWS_REGION'] ?? env['AWS_DEFAULT_REGION'];
  if (given || region === undefined) return given;
  return `https://${service}.${region}.amazonaws.com${region.startsWith('cn-') ? '.cn' : ''}`;
}
