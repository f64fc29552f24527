import { randomUUID } from 'node:crypto';
import type { Provider, TokenEndpointGrantContext } from 'oidc-provider';
import {
  CUSTOMER_GRANT,
  type MintingOptions,
  resourceIdentifier,
  resourceServer,
} from './embedded-provider-configuration.js';
import type { OidcProviderLibrary } from './embedded-provider-library.js';

/** One to 255 printable ASCII characters, as OpenID Connect Core §2 limits `sub`; no space at either end. */
const SUBJECT = /^[!-~](?:[ -~]{0,253}[!-~])?$/;

/** Lets the provider mint customer tokens. The client's own registration says that it may have them. */
export function registerCustomerGrant(
  provider: Provider,
  minting: MintingOptions,
  { errors }: OidcProviderLibrary,
): void {
  const grant = async (
    context: TokenEndpointGrantContext<{ subject?: unknown }>,
  ): Promise<void> => {
    const { client, params } = context.oidc;
    const subject = readSubject(params.subject);
    if (subject === undefined) {
      throw new errors.InvalidRequest('subject must be 1 to 255 printable ASCII characters');
    }
    // RFC 9700 §4.15: no person may look like a client.
    if ([minting.clientId, client.clientId].includes(subject)) {
      throw new errors.InvalidRequest('subject must not be the id of a client');
    }
    const token = new provider.AccessToken({
      client,
      accountId: subject,
      gty: CUSTOMER_GRANT,
      grantId: randomUUID(),
      scope: params.scope === '' ? undefined : params.scope,
      resourceServer: new provider.ResourceServer(
        resourceIdentifier(minting),
        resourceServer(minting, params.scope),
      ),
    });
    const value = await token.save();
    context.body = {
      access_token: value,
      expires_in: token.expiration,
      token_type: token.tokenType,
      ...(token.scope === undefined ? {} : { scope: token.scope }),
    };
  };
  provider.registerGrantType<{ subject?: unknown }>(CUSTOMER_GRANT, grant, ['subject', 'scope']);
}

function readSubject(value: unknown): string | undefined {
  return typeof value === 'string' && SUBJECT.test(value) ? value : undefined;
}
