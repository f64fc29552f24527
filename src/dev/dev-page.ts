import type { BrokerRuntime } from '../composition/runtime.js';
import { html, type Html } from '../operations/status-page/html.js';
import { mark } from '../operations/status-page/page-charts.js';
import { pageShell } from '../operations/status-page/page-shell.js';
import type { PageDevelopment } from '../operations/status-page/status-page.js';
import { PEER_ROLES } from '../peers/peers.js';
import type { Form } from '../serving/form.js';
import { isJsonObject, type JsonObject } from '../tokens/json.js';
import { redactText } from '../tokens/redaction.js';
import { explainToken, type IssuerOptions, type TokenExplanation } from '../verification/index.js';
import { DEMO_PEER, type DevCredentials } from './dev-logins.js';
import { CUSTOMER_GRANT } from './embedded-provider.js';

/** What dev mode's part of the status page works with. */
interface DevPageOptions extends Pick<BrokerRuntime, 'core' | 'each'> {
  /** The embedded provider. */
  readonly issuer: string;
  /** The client that gets tokens of customers. */
  readonly customerClient: DevCredentials;
}

/** Milliseconds for the embedded provider, which is in this process. */
const TIMEOUT = 5_000;

/**
 * The part of the status page that only dev mode has: what is in the service token, and a form that mints a customer's
 * token and shows how receivers judge it. No token is ever shown, only what it says.
 */
export function createDevPage(options: DevPageOptions): PageDevelopment {
  const { core, each } = options;
  const [token] = each.values();
  if (token === undefined) throw new TypeError('Dev mode has one token.');
  const { name, verification } = token.core.token;
  let receivers: Promise<readonly IssuerOptions[]> | undefined;
  const explain = async (text: string): Promise<Explained> => {
    // Dev mode's provider stays the same while it runs.
    receivers ??= token.core.receiver();
    const issuers = await receivers;
    const { clockSkewSeconds } = verification;
    const explanation = await explainToken(text, { issuers, clock: core.clock, clockSkewSeconds });
    return { explanation, claims: claimsOf(text) };
  };
  let known: { readonly versionId: string; readonly explained: Explained } | undefined;
  return {
    viewer: { id: DEMO_PEER, roles: PEER_ROLES, tokens: [name] },
    sections: async (formToken) => {
      const current = token.cache.status().value;
      if (current === undefined) return tryForm(formToken);
      const { versionId } = current;
      if (known?.versionId !== versionId) {
        known = { versionId, explained: await explain(current.token.accessToken) };
      }
      return html`<section id="claims" data-live>
          <h2>The service token, claim by claim</h2>
          ${explainedParts(known.explained, 'The claims of the token that is served now')}
        </section>
        ${tryForm(formToken)}`;
    },
    answer: async (form) => {
      const viewer = { id: DEMO_PEER, isAutomatic: true };
      const minted = await mintCustomerToken(form, options);
      if ('refusal' in minted) {
        const main = html`<section>
          <h1>${mark('bad')}<span>The provider minted no token</span></h1>
          <p class="lead">${minted.refusal}</p>
          <p><a href="./#try">Back</a></p>
        </section>`;
        return pageShell({ title: 'No token', tone: 'bad', viewer, main });
      }
      const explained = await explain(minted.token);
      const { accepted, kind } = explained.explanation;
      const title = accepted ? `This is the token of a ${kind}` : 'Receivers refuse this token';
      const main = html`<section class="verdict">
          <h1>${mark(accepted ? 'good' : 'bad')}<span>${title}</span></h1>
          <p class="lead">${guardWords(kind)}</p>
        </section>
        <section>
          <h2>What is in it</h2>
          ${explainedParts(explained, 'The claims of the token that was minted, and is forgotten')}
          <p><a href="./#try">Back to the status</a></p>
        </section>`;
      return pageShell({ title, tone: accepted ? 'good' : 'bad', viewer, main });
    },
  };
}

interface Explained {
  readonly explanation: TokenExplanation;
  readonly claims: JsonObject;
}

function guardWords(kind: TokenExplanation['kind']): string {
  if (kind === undefined) return 'Every handler answers 401, whatever it allows.';
  const [own, other] =
    kind === 'customer' ? ['AllowCustomer', 'AllowService'] : ['AllowService', 'AllowCustomer'];
  return `A handler with @${own}() lets it in; one with @${other}() alone answers 403.`;
}

function tryForm(formToken: string): Html {
  return html`<section id="try" class="tries">
    <h2>Mint a customer’s token, and try it</h2>
    <p>
      The embedded provider mints it for whomever you name, without a login, and it is judged as a
      receiver would. It is not shown, and not kept.
    </p>
    <form method="post" action="try">
      <p class="pair">
        <label for="subject">Who is the customer? (<code>sub</code>)</label>
        <input id="subject" name="subject" value="ann" maxlength="64" required autocomplete="off" />
      </p>
      <p class="pair">
        <label for="scope">Scopes, separated by spaces (may be empty)</label>
        <input id="scope" name="scope" value="" maxlength="200" autocomplete="off" />
      </p>
      <input type="hidden" name="form" value="${formToken}" />
      <p><button type="submit">Mint and try</button></p>
    </form>
  </section>`;
}

/** Asks the embedded provider, as a customer's application would. */
async function mintCustomerToken(
  form: Form,
  { issuer, customerClient: { clientId, clientSecret } }: DevPageOptions,
): Promise<{ readonly token: string } | { readonly refusal: string }> {
  const wanted = new URLSearchParams({ grant_type: CUSTOMER_GRANT });
  for (const name of ['subject', 'scope']) {
    const [value] = form.get(name) ?? [];
    if (value !== undefined) wanted.set(name, value);
  }
  const response = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: {
      authorization: `Basic ${Buffer.from(`${clientId}:${clientSecret}`).toString('base64')}`,
    },
    body: wanted,
    signal: AbortSignal.timeout(TIMEOUT),
  });
  const body: unknown = await response.json();
  const fields = isJsonObject(body) ? body : {};
  const { access_token: token, error, error_description: description } = fields;
  if (response.ok && typeof token === 'string') return { token };
  const words = [error, description].filter((one) => typeof one === 'string').join(': ');
  return { refusal: redactText(words || `It answered ${response.status}.`) };
}

function claimsOf(token: string): JsonObject {
  const text = Buffer.from(token.split('.', 2)[1] ?? '', 'base64url').toString();
  const claims: unknown = JSON.parse(text);
  return isJsonObject(claims) ? claims : {};
}

/** RFC 7519 §4.1, RFC 9068 §2.2, and what providers add. */
const MEANINGS: Readonly<Record<string, string>> = {
  iss: 'who vouches for it',
  sub: 'who it speaks for: a person, or the client itself',
  aud: 'who it is for',
  exp: 'when it ends',
  iat: 'when it was minted',
  nbf: 'from when on it is valid',
  jti: 'its own id',
  client_id: 'the client that it was minted for',
  scope: 'what it may be used for',
  auth_time: 'when the person logged in: a service never does',
};

function explainedParts({ explanation, claims }: Explained, caption: string): Html {
  const { steps, rules } = explanation;
  return html`<table class="claims">
      <caption>
        ${caption}
      </caption>
      <thead>
        <tr>
          <th scope="col">Claim</th>
          <th scope="col">Value, and what it means</th>
        </tr>
      </thead>
      <tbody>
        ${Object.entries(claims).map(
          ([name, value]) =>
            html`<tr>
              <th scope="row"><code>${name}</code></th>
              <td>
                ${valueWords(name, value)}<span class="quiet"
                  >${MEANINGS[name] ?? 'what the provider adds'}</span
                >
              </td>
            </tr>`,
        )}
      </tbody>
    </table>
    <h3 class="after">How a receiver judges it</h3>
    <ol class="steps">
      ${steps.map(
        ({ step, outcome, words }) =>
          html`<li>
            ${mark(outcome === 'ok' ? 'good' : 'bad')}<span
              ><b>${step}</b> ${redactText(words)}</span
            >
          </li>`,
      )}
    </ol>
    ${
      rules.length > 0 &&
      html`<h3 class="after">The rule that classified it</h3>
        <p>${redactText(rules.at(-1) ?? '')}</p>
        <details id="rules">
          <summary>All ${rules.length - 1} questions, with their answers</summary>
          <ul>
            ${rules.slice(0, -1).map((rule) => html`<li>${redactText(rule)}</li>`)}
          </ul>
        </details>`
    }`;
}

const INSTANTS: ReadonlySet<string> = new Set(['exp', 'iat', 'nbf', 'auth_time']);

function valueWords(name: string, value: unknown): string {
  if (INSTANTS.has(name) && typeof value === 'number') {
    return new Date(value * 1000).toISOString().replace('.000Z', 'Z');
  }
  return redactText(typeof value === 'string' ? value : JSON.stringify(value)).slice(0, 400);
}
