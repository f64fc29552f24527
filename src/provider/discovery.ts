import * as oauth from 'oauth4webapi';
import { isProviderError, ProviderError, unexpected } from './provider-errors.js';
import { boundedFetch } from './provider-http.js';
import { displayUrl, requireUrl } from './provider-settings.js';
import { type Budget, retrying } from './retry.js';
import { safeText } from './safe-text.js';
import type { ProviderSettings } from './provider-settings.js';

/** Where a provider may describe itself. OpenID first: nearly every provider has it, and several have nothing else. */
const PLACES = ['oidc', 'oauth2'] as const;

type Place = (typeof PLACES)[number];

/**
 * Asks the provider to describe itself: OpenID Connect Discovery §4, then RFC 8414 §3. The answer is for exactly the
 * configured issuer, and may be cached.
 *
 * @throws {ProviderError} `PROVIDER_DISCOVERY_FAILED` when neither place has metadata, `PROVIDER_ISSUER_MISMATCH`,
 *   `PROVIDER_INSECURE`, and what every exchange may throw.
 */
export async function discover(
  settings: ProviderSettings,
  budget: Budget,
): Promise<oauth.AuthorizationServer> {
  const issuer = requireUrl(settings.issuer, 'issuer', settings);
  if (issuer.search !== '') {
    throw new ProviderError(
      'PROVIDER_SETTINGS_INVALID',
      'The issuer cannot be used: it must have no query.',
    );
  }
  const failures: ProviderError[] = [];
  for (const place of PLACES) {
    try {
      return await retrying(budget, (timeoutMs) => ask(place, issuer, settings, budget, timeoutMs));
    } catch (error) {
      // A provider that is down or slow is so at every place; only "this is no metadata" makes the other worth a try.
      if (!(error instanceof ProviderError) || error.kind !== 'misconfigured') throw error;
      failures.push(error);
    }
  }
  throw bestOf(failures, issuer);
}

async function ask(
  place: Place,
  issuer: URL,
  settings: ProviderSettings,
  budget: Budget,
  timeoutMs: number,
): Promise<oauth.AuthorizationServer> {
  const response = await oauth.discoveryRequest(issuer, {
    algorithm: place,
    [oauth.allowInsecureRequests]: issuer.protocol === 'http:',
    [oauth.customFetch]: boundedFetch({
      clock: budget.clock,
      timeoutMs,
      signal: budget.signal,
      what: 'discovery document',
    }),
  });
  const server = await readMetadata(issuer, response);
  if (server.issuer !== settings.issuer) throw mismatch(settings.issuer, server.issuer);
  return server;
}

async function readMetadata(issuer: URL, response: Response): Promise<oauth.AuthorizationServer> {
  try {
    return await oauth.processDiscoveryResponse(issuer, response);
  } catch (error) {
    if (!(error instanceof oauth.OperationProcessingError)) {
      if (isInvalidUrl(error)) throw failed('its "issuer" is not a URL');
      throw unexpected(error);
    }
    if (error.code === oauth.JSON_ATTRIBUTE_COMPARISON) {
      throw mismatch(issuer.href, bodyIssuer(error.cause));
    }
    if (response.status !== 200) throw failed(`status ${response.status}`);
    if (error.code === oauth.RESPONSE_IS_NOT_JSON || error.code === oauth.PARSE_ERROR) {
      const type = safeText(response.headers.get('content-type')) ?? 'no content type';
      throw failed(`no JSON, but ${type}`);
    }
    throw failed('no metadata with an "issuer"');
  }
}

function isInvalidUrl(error: unknown): boolean {
  return typeof error === 'object' && error !== null && 'code' in error
    ? error.code === 'ERR_INVALID_URL'
    : false;
}

function bodyIssuer(cause: unknown): unknown {
  if (typeof cause !== 'object' || cause === null || !('body' in cause)) return undefined;
  const { body } = cause;
  return typeof body === 'object' && body !== null && 'issuer' in body ? body.issuer : undefined;
}

function mismatch(configured: string, described: unknown): ProviderError {
  const named = safeText(described) ?? 'something unreadable';
  return new ProviderError(
    'PROVIDER_ISSUER_MISMATCH',
    `The provider says that its issuer is ${named}, and ${safeText(configured) ?? 'another'} is configured. Its tokens ` +
      'carry its own word, and every character counts, a trailing slash too: set BROKER_ISSUER to the former if it is ' +
      'the provider you mean.',
  );
}

function failed(why: string): ProviderError {
  return new ProviderError('PROVIDER_DISCOVERY_FAILED', why);
}

/** A place that answers with metadata of somebody else says more than one that has none. */
function bestOf(failures: readonly ProviderError[], issuer: URL): ProviderError {
  const telling = failures.find(
    (failure) => !isProviderError(failure, 'PROVIDER_DISCOVERY_FAILED'),
  );
  if (telling !== undefined) return telling;
  const [openid, oauth2] = failures.map((failure) => failure.message);
  return new ProviderError(
    'PROVIDER_DISCOVERY_FAILED',
    `The issuer ${displayUrl(issuer)} describes itself neither as OpenID provider (${openid}) nor as OAuth ` +
      `authorization server (${oauth2}). Check BROKER_ISSUER, or set BROKER_TOKEN_ENDPOINT and BROKER_JWKS_URI.`,
  );
}
