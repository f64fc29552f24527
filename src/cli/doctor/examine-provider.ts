import { coverageOf } from '../../composition/core.js';
import { networkOf } from '../../composition/network.js';
import type { ProviderSettings } from '../../provider/client-credentials.js';
import {
  decideClientAuthentication,
  tryKmsKey,
  workloadToken,
} from '../../provider/client-authentication.js';
import type { WorkloadToken } from '../../provider/client-proofs.js';
import { loadCertificate, type ClientCertificate } from '../../provider/mutual-tls.js';
import { boundedFetch } from '../../provider/provider-http.js';
import type { ProviderMetadata } from '../../provider/token-provider.js';
import { worstGap } from '../../rotation/coverage.js';
import { oneLine } from '../../tokens/errors.js';
import {
  createRemoteKeySet,
  explainToken,
  type KeySetState,
  type TokenExplanation,
  type TokenVerifierOptions,
} from '../../verification/index.js';
import { instant, span } from '../../composition/terminal.js';
import { adviceFor } from '../verify.js';
import { failed, ok, skipped, warning, type Examined, type Finding } from './examination.js';
import type {
  ExaminedBroker,
  ExaminedCredentials,
  ExaminedTokenSecret,
} from './examine-secrets.js';

/** The provider's metadata, and the settings it was asked with. */
export interface ExaminedProvider {
  readonly settings: ProviderSettings;
  readonly metadata: ProviderMetadata;
}

/** Whether the provider is known, and its metadata is available. @throws {BrokerError} */
export async function examineProvider({
  source,
  provider,
}: ExaminedBroker): Promise<Examined<ExaminedProvider>> {
  const { settings } = await source.access();
  const metadata = await provider.metadata(settings);
  const isAsked = settings.tokenEndpoint === undefined || settings.jwksUri === undefined;
  const how = isAsked ? 'describes itself' : 'is configured, with nothing to discover';
  return {
    ...ok(
      `${metadata.issuer} ${how}: token endpoint ${metadata.tokenEndpoint}, keys ${metadata.jwksUri}.`,
    ),
    value: { settings, metadata },
  };
}

/**
 * How the broker authenticates to the provider, and whether what that needs is there: nothing is sent to the provider.
 *
 * @throws {BrokerError}
 */
export async function examineAuthentication(
  { clock, awsProofs }: ExaminedBroker,
  { credentials }: ExaminedCredentials,
  { settings, metadata }: ExaminedProvider,
): Promise<Finding> {
  const { issuer, tokenEndpoint, authenticationMethods, mtlsTokenEndpoint } = metadata;
  const decision = decideClientAuthentication(settings, credentials.kind, {
    issuer,
    token_endpoint: tokenEndpoint,
    ...(authenticationMethods && { token_endpoint_auth_methods_supported: authenticationMethods }),
    ...(mtlsTokenEndpoint !== undefined && { mtls_token_endpoint: mtlsTokenEndpoint }),
  });
  const tools = { clock, aws: awsProofs };
  if (credentials.kind === 'secrets') return ok(`By ${decision.method}.`);
  if (credentials.kind === 'workload-token') {
    return judgeWorkload(await workloadToken(credentials, tools));
  }
  if (credentials.kind === 'certificate') {
    const now = clock.now();
    const certificate = await loadCertificate(credentials, now);
    return judgeCertificateLife(certificate, now, decision.tokenEndpoint ?? tokenEndpoint);
  }
  const byAssertion = `By private_key_jwt, for the audience ${decision.assertionAudience}`;
  if (credentials.kind === 'private-key') return ok(`${byAssertion}.`);
  const tried = await tryKmsKey(credentials, tools);
  if (tried === false) {
    return failed(
      `What the KMS key "${credentials.keyId}" signs does not verify by its public key.`,
      'Check AWS_ENDPOINT_URL_KMS, and that BROKER_KMS_ALGORITHM is one of the key.',
    );
  }
  const { algorithm, assertionKeyId, publicKey } = tried;
  const key = publicKey?.keyId ?? credentials.keyId;
  return ok(`${byAssertion}, signed by the KMS key ${key} (${algorithm}, kid ${assertionKeyId}).`);
}

/** What the provider must know the workload token by. Pure. */
export function judgeWorkload(token: Omit<WorkloadToken, 'token'>): Finding {
  const { issuer = 'nobody', subject = 'nobody', audience, expiresAt } = token;
  const until = expiresAt === undefined ? '' : `, until ${instant(expiresAt)}`;
  const found = `By a workload token of ${issuer} for ${subject}, audience ${audience.join(', ') || 'none'}${until}`;
  return audience.length === 0
    ? warning(
        `${found}.`,
        'A token without an audience is good anywhere: give it the one that the provider names.',
      )
    : ok(`${found}.`);
}

/** How long the client certificate lives. Pure. @param now milliseconds since the Unix epoch. */
export function judgeCertificateLife(
  { subject, startsAt, endsAt }: Pick<ClientCertificate, 'subject' | 'startsAt' | 'endsAt'>,
  now: number,
  tokenEndpoint: string,
): Finding {
  const found = `By mutual TLS at ${tokenEndpoint}, with the certificate of ${subject}, until ${instant(endsAt)}`;
  // Certificates that are renewed by a machine may live for an hour.
  return endsAt - now < (endsAt - startsAt) / 10
    ? warning(`${found}: in ${span(endsAt - now)}.`, 'Renew it; the next mint uses the new one.')
    : ok(`${found}.`);
}

/** Whether the provider's public keys can be fetched and used. @throws {BrokerError} */
export async function examineKeys(
  { clock, config }: ExaminedBroker,
  { settings, metadata }: ExaminedProvider,
): Promise<Finding> {
  const network = await networkOf(config);
  const keys = createRemoteKeySet({
    ...(network && { fetch: network.fetch }),
    jwksUri: metadata.jwksUri,
    clock,
    allowInsecureHttp: settings.allowInsecureHttp === true,
  });
  await keys.refresh();
  return judgeKeys(keys.state());
}

/** Whether the provider publishes keys to verify with. Pure. */
export function judgeKeys({ keyIds, ignored }: Pick<KeySetState, 'keyIds' | 'ignored'>): Finding {
  const unusable = ignored.map(
    ({ keyId, reason }) =>
      `${keyId ?? 'one without an id'} (${reason === 'roca' ? 'ROCA, CVE-2017-15361' : reason})`,
  );
  const unused = unusable.length === 0 ? '' : ` Not used: ${unusable.join(', ')}.`;
  if (keyIds.length > 0) return ok(`Published, by their ids: ${keyIds.join(', ')}.${unused}`);
  return warning(
    `The provider publishes no key with an id.${unused}`,
    '"classification" shows whether its tokens can be verified all the same.',
  );
}

/**
 * Mints a token and verifies it as receivers do. The token is not kept; the finding says why receivers would refuse it.
 *
 * @param isWanted false: mints nothing, since the provider counts every token.
 * @throws {BrokerError}
 */
export async function examineMint(
  { source, clock, token: configured, verifierOptions }: ExaminedBroker,
  { settings }: ExaminedProvider,
  isWanted: boolean,
): Promise<Finding> {
  if (!isWanted) {
    return skipped('No token was minted, because the provider counts each one.', 'To try: --mint');
  }
  const token = await source.mint();
  const options = verifierOptions(settings);
  const explanation = await explainToken(token.accessToken, options);
  const judged = judgeExplanation(explanation, 'minted', options);
  if (judged.state === 'failed') return judged;
  const life = token.expiresAt - clock.now();
  const { minRemainingSeconds } = configured.rotation;
  const minted = `The provider mints tokens that live ${span(life)}`;
  return life > minRemainingSeconds * 1000
    ? ok(`${minted}, and receivers accept them. This one was not kept.`, judged.action)
    : failed(
        `${minted}, and more than ${minRemainingSeconds} s are needed.`,
        "Raise the token lifetime in the provider's settings, or lower BROKER_MIN_REMAINING_SECONDS.",
      );
}

/** Verifies the current service token as a receiver does. @throws {BrokerError} */
export async function examineClassification(
  { verifierOptions }: ExaminedBroker,
  { settings }: ExaminedProvider,
  { current }: ExaminedTokenSecret,
): Promise<Finding> {
  if (current === undefined) return skipped('There is no service token to verify.');
  const options = verifierOptions(settings);
  const explanation = await explainToken(current.token.accessToken, options);
  return judgeExplanation(explanation, 'current', options);
}

/**
 * Whether receivers accept the token as a service token. Pure.
 *
 * @param options the rules that it was verified by; with them the finding says what receivers need.
 */
export function judgeExplanation(
  explanation: TokenExplanation,
  which: 'current' | 'minted' = 'current',
  options?: TokenVerifierOptions,
): Finding {
  const { accepted, kind, code, steps } = explanation;
  const advice = options && adviceFor(explanation, options);
  if (accepted && kind === 'service') {
    return ok(`Receivers accept the ${which} token, as a service token.`, advice);
  }
  const details = tokenDetails(explanation);
  if (accepted) {
    const action = 'Check BROKER_PROFILE, and which client the provider minted it for.';
    return {
      ...failed(`Receivers take the ${which} token for a customer token.`, action),
      details,
    };
  }
  const last = steps.at(-1);
  return {
    ...failed(
      `Receivers refuse the ${which} token at "${last?.step}": ${oneLine(last?.words ?? '')}`,
      advice,
    ),
    details,
    ...(code !== undefined && { code }),
  };
}

/** The claims of the broker's own token, and the rules that it was verified by. */
function tokenDetails({ seen, rules }: TokenExplanation): readonly string[] {
  const { iss = 'none', aud = [], typ = 'none' } = seen;
  return [
    `the token's iss: ${iss}`,
    `the token's aud: ${aud.length === 0 ? 'none' : aud.join(', ')}`,
    `the token's typ: ${typ}`,
    ...rules.map((rule) => `rule ${rule}`),
  ];
}

/** Whether the current token outlives the worst gap between two rotations. */
export function examineCoverage(
  core: ExaminedBroker,
  { current, description }: ExaminedTokenSecret,
): Finding {
  if (current === undefined) return skipped('There is no service token to measure.');
  const gap = worstGap(description, core.slots, core.clock.now());
  return judgeCoverage(gap && coverageOf(current.token, gap, core));
}

/** Pure. @param coverage `undefined` when the schedule cannot be read. */
export function judgeCoverage(coverage: ReturnType<typeof coverageOf> | undefined): Finding {
  if (coverage === undefined) {
    return warning(
      "Secrets Manager's schedule cannot be read here, so that the worst gap is not known.",
      'Compare it with the life of a token by hand.',
    );
  }
  return coverage.covered ? ok(coverage.explanation) : warning(coverage.explanation);
}

/** A difference from which there is a warning, in milliseconds; a synchronized clock stays far below. */
const NOTABLE_SKEW = 30_000;
/** How long the provider may take to answer, in milliseconds. */
const TIMEOUT = 5_000;

/** A response's `Date`, and this machine's clock around it. Instants and spans in milliseconds. */
export interface ClockReading {
  /** The provider's `Date` header (RFC 9110 §6.6.1). */
  readonly date: string | null;
  /** The `Age` header, if a cache on the way answered (RFC 9111 §5.1). */
  readonly age: string | null;
  /** When the request was sent, and when it was answered, by this machine's clock. */
  readonly sentAt: number;
  readonly answeredAt: number;
  /** The difference that verification tolerates: BROKER_CLOCK_SKEW_SECONDS. */
  readonly tolerated: number;
}

/** Compares this machine's clock with the provider's, and with Secrets Manager's. @throws {BrokerError} */
export async function examineClock(
  { clock, token, clockWatch }: ExaminedBroker,
  { metadata }: ExaminedProvider,
): Promise<Finding> {
  const ask = boundedFetch({ clock, timeoutMs: TIMEOUT, signal: undefined, what: 'clock' });
  const sentAt = clock.now();
  const answer = await ask(metadata.jwksUri, { method: 'GET', headers: {} });
  const byProvider = judgeClock({
    date: answer.headers.get('date'),
    age: answer.headers.get('age'),
    sentAt,
    answeredAt: clock.now(),
    tolerated: token.verification.clockSkewSeconds * 1000,
  });
  const byStore = clockWatch.readiness();
  return byProvider.state === 'failed' || byStore?.ok !== false
    ? byProvider
    : warning(byStore.reason ?? '', 'Synchronize it (NTP).');
}

/**
 * How far this machine's clock is from the provider's. The time on the network and the header's whole seconds count in
 * favour of the clock. Pure.
 */
export function judgeClock(reading: ClockReading): Finding {
  const { date, age, sentAt, answeredAt, tolerated } = reading;
  const inCache = /^\d{1,9}$/.test(age ?? '') ? Number(age) * 1_000 : 0;
  const shown = date === null ? Number.NaN : Date.parse(date) + inCache;
  if (!Number.isFinite(shown)) {
    return skipped('The provider sends no Date header: the clocks cannot be compared.');
  }
  // The provider answered within the second that starts at the header's time, and between our two instants.
  const ahead = sentAt - (shown + 1_000);
  const behind = shown - answeredAt;
  const skew = Math.max(ahead, behind, 0);
  const found = `This machine's clock is ${span(skew)} ${ahead > behind ? 'ahead of' : 'behind'} the provider's`;
  const action = 'Synchronize it (NTP).';
  if (skew > tolerated) {
    return failed(`${found}, more than BROKER_CLOCK_SKEW_SECONDS tolerates.`, action);
  }
  return skew > NOTABLE_SKEW
    ? warning(`${found}.`, action)
    : ok(`This machine's clock and the provider's differ by ${span(skew)} at most.`);
}
