import { expect } from '@jest/globals';
import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';

/** What a provider answered a token request with. */
export interface TokenAnswer {
  readonly status: number;
  readonly access_token: string;
  readonly id_token?: string;
  readonly refresh_token?: string;
  readonly error?: string;
  readonly error_description?: string;
}

/** Where codes are sent. Nothing listens there: {@link Browser} reads the address. */
export const REDIRECT_URI = 'http://127.0.0.1/callback';

/** Like `fetch`, and once more where the server closed a kept-alive connection at the moment when it was taken. */
export async function request(url: string, init: RequestInit = {}): Promise<Response> {
  try {
    return await fetch(url, init);
  } catch (error) {
    const { cause } = error as { cause?: { code?: unknown } };
    if (cause?.code !== 'UND_ERR_SOCKET') throw error;
    return fetch(url, init);
  }
}

/** POSTs a form. @param as client id and secret, for HTTP Basic. */
export async function post(
  url: string,
  fields: Readonly<Record<string, string>>,
  as?: readonly [id: string, secret: string],
  headers: Readonly<Record<string, string>> = {},
): Promise<TokenAnswer> {
  const response = await request(url, {
    method: 'POST',
    body: new URLSearchParams(fields),
    headers: {
      ...headers,
      ...(as && { authorization: `Basic ${Buffer.from(as.join(':')).toString('base64')}` }),
    },
  });
  return { status: response.status, ...((await response.json()) as Omit<TokenAnswer, 'status'>) };
}

/** A person's browser, as far as a login needs one: cookies, and redirects followed one by one. */
export class Browser {
  readonly #cookies = new Map<string, string>();

  async go(url: string, init: RequestInit = {}): Promise<Response> {
    const cookie = [...this.#cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const headers = { accept: 'text/html', cookie };
    const response = await request(url, { ...init, headers, redirect: 'manual' });
    for (const line of response.headers.getSetCookie()) {
      const [pair = ''] = line.split(';');
      const at = pair.indexOf('=');
      this.#cookies.set(pair.slice(0, at), pair.slice(at + 1));
    }
    return response;
  }

  /** Where a response leads to. */
  async redirect(url: string, init?: RequestInit): Promise<string> {
    const response = await this.go(url, init);
    const location = response.headers.get('location');
    if (location === null) {
      throw new Error(`${url} answered ${response.status}: ${await response.text()}`);
    }
    return new URL(location, url).href;
  }

  /** Fills in the first form of a page, hidden fields and all, and sends it. @returns where that leads to. */
  async submit(page: string, fields: Readonly<Record<string, string>>): Promise<string> {
    const html = await (await this.go(page)).text();
    const action = /<form[^>]* action="([^"]+)"/.exec(html)?.[1]?.replaceAll('&amp;', '&');
    const hidden = [...html.matchAll(/<input[^>]*type="hidden"[^>]*>/g)].map(([input]) => [
      /name="([^"]*)"/.exec(input)?.[1] ?? '',
      /value="([^"]*)"/.exec(input)?.[1] ?? '',
    ]);
    expect(action).toBeDefined();
    return this.redirect(new URL(action ?? '', page).href, {
      method: 'POST',
      body: new URLSearchParams({ ...Object.fromEntries(hidden), ...fields }),
    });
  }
}

/** The address that asks for a code for `web`, the client that people use. */
export function codeRequest(endpoint: string, scope: string, more = {}): string {
  const query = new URLSearchParams({
    client_id: 'web',
    response_type: 'code',
    redirect_uri: REDIRECT_URI,
    scope,
    state: 'state-of-this-test',
    nonce: 'nonce-of-this-test',
    ...more,
  });
  return `${endpoint}?${query.toString()}`;
}

/** Takes the code from an address at the application, and turns it into tokens for `web`. */
export function redeem(
  endpoint: string,
  address: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<TokenAnswer> {
  const code = new URL(address).searchParams.get('code');
  if (code === null) throw new Error(`No code in ${address}`);
  return post(
    endpoint,
    { grant_type: 'authorization_code', code, redirect_uri: REDIRECT_URI },
    ['web', 'web-secret'],
    headers,
  );
}

/** A proof of a new key for one POST (RFC 9449 §4.2), for the header `DPoP`. */
export function dpopProof(url: string): string {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const jwk = publicKey.export({ format: 'jwk' });
  const iat = Math.floor(Date.now() / 1000);
  const signed = [
    { typ: 'dpop+jwt', alg: 'ES256', jwk },
    { jti: randomUUID(), htm: 'POST', htu: url, iat },
  ]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.');
  const key = { key: privateKey, dsaEncoding: 'ieee-p1363' } as const;
  return `${signed}.${sign('sha256', Buffer.from(signed), key).toString('base64url')}`;
}
