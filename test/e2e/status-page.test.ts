import { readFile } from 'node:fs/promises';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import { text as textOf } from 'node:stream/consumers';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { runCommand, startBroker, type BrokerProcess } from '../support/broker-process.js';
import { temporaryFolder } from './folders.js';
import { basic, demoPeer, getToken } from './peer-http.js';

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

const PATHS = [
  '/',
  '/page.css',
  '/page.js',
  '/runbook',
  '/sign-in',
  '/sign-out',
  '/confirm',
  '/act',
  '/try',
];
/** As a proxy sends it: dev mode signs in who sits at this machine, and nobody else. */
const FROM_ELSEWHERE = { 'x-forwarded-for': '203.0.113.7' };

let dataDir: string;
let auditFile: string;
let broker: BrokerProcess;
let origin: string;
let secret: string;
/** The `Authorization` of further peers, with the role `token` alone. */
const logins = new Map<string, string>();
/** Every answer of the page, to be searched for secrets. */
const answers: string[] = [];

async function ask(
  method: string,
  path: string,
  headers: Record<string, string> = {},
  body?: string,
): Promise<Answer> {
  const response = await new Promise<import('node:http').IncomingMessage>((resolve, reject) => {
    const request = httpRequest(`${broker.url}${path}`, { method, headers, agent: false });
    request.on('response', resolve).on('error', reject);
    request.end(body);
  });
  const text = await textOf(response);
  answers.push(JSON.stringify(response.headers), text);
  return { status: response.statusCode ?? 0, headers: response.headers, text };
}

const FORM = { 'content-type': 'application/x-www-form-urlencoded' };

/** What a browser sends when a form of the page is sent. */
function send(
  path: string,
  fields: Record<string, string>,
  headers: Record<string, string> = {},
): Promise<Answer> {
  return ask('POST', path, { ...FORM, origin, ...headers }, String(new URLSearchParams(fields)));
}

/** The hidden fields of a form. */
function fieldsOf({ text }: Answer): Record<string, string> {
  const inputs = text.matchAll(/<input\s+type="hidden"\s+name="([^"]*)"\s+value="([^"]*)"/g);
  return Object.fromEntries([...inputs].map(([, name = '', value = '']) => [name, value]));
}

/** Asks first, as the page does, and then does it. */
async function act(query: string): Promise<Answer> {
  const fields = fieldsOf(await ask('GET', `/confirm?${query}`));
  const done = await send('/act', fields);
  expect([done.status, done.text]).toEqual([303, '']);
  const { location = '' } = done.headers;
  expect(location).toMatch(/^\.\/\?told=[\w-]{16}$/);
  return ask('GET', location.slice(1));
}

/** The lines of the audit, which is written behind the answers, as soon as one has the outcome, of that peer. */
async function audit(outcome: string, peer?: string): Promise<readonly Record<string, unknown>[]> {
  for (let tries = 0; ; tries += 1) {
    const lines = (await readFile(auditFile, 'utf8'))
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    if (
      tries === 400 ||
      lines.some((one) => one['outcome'] === outcome && (peer ?? one['peer']) === one['peer'])
    )
      return lines;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const plain = (text: string): string => text.replaceAll(/<[^>]*>|\s+/g, ' ').replaceAll(/ +/g, ' ');

beforeAll(async () => {
  const folder = await temporaryFolder();
  dataDir = join(folder, 'data');
  auditFile = join(folder, 'audit.jsonl');
  broker = await startBroker(['dev'], {
    BROKER_DATA_DIR: dataDir,
    BROKER_AUDIT: auditFile,
    BROKER_MANAGEMENT_HOSTS: 'status.example.com',
  });
  origin = broker.url;
  ({ secret } = await demoPeer(dataDir));
  for (const id of ['plain', 'billing']) {
    const file = join(folder, `${id}.json`);
    const env = { BROKER_DATA_DIR: dataDir };
    await runCommand(['peers', 'add', id, '--secret-file', file], env);
    const added = JSON.parse(await readFile(file, 'utf8')) as { secret: string };
    logins.set(id, basic(id, added.secret));
  }
  // The list is read anew: otherwise the broker would learn of them within five seconds.
  await act('do=enable&peer=billing');
});

afterAll(async () => {
  await broker.stop();
});

test('the runbook is at hand, where the problems lead', async () => {
  const { status, text } = await ask('GET', '/runbook');
  expect(status).toBe(200);
  expect(text).toContain('<h3 id="tokens_unavailable_total">');
});

test('dev mode says where it is, before anything else to try', () => {
  const lines = broker.stdout().split('\n');
  const first = lines.findIndex((line) => line.startsWith('See what it does:'));
  expect(lines[first]).toContain(`${broker.url}/ `);
  expect(first).toBeLessThan(lines.findIndex((line) => line.startsWith('The broker is ready at')));
});

test('every answer forbids frames, foreign code, caches and referrers elsewhere', async () => {
  for (const path of [...PATHS, '/confirm?do=rotate&token=default', '/?told=nothing']) {
    for (const method of ['GET', 'POST', 'DELETE']) {
      const { status, headers } = await ask(method, path);
      expect([path, method, headers]).toEqual([
        path,
        method,
        expect.objectContaining({
          'content-security-policy':
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
          'x-frame-options': 'DENY',
          'referrer-policy': 'same-origin',
          'x-content-type-options': 'nosniff',
          'cache-control': 'no-store',
          'cross-origin-opener-policy': 'same-origin',
          'cross-origin-resource-policy': 'same-origin',
        }),
      ]);
      expect(headers['access-control-allow-origin']).toBeUndefined();
      expect(headers['set-cookie']).toBeUndefined();
      if (method === 'DELETE') expect(status).toBe(405);
    }
  }
});

describe('a name that is not ours', () => {
  test('gets 421, and no page', async () => {
    const { port } = new URL(broker.url);
    for (const host of ['evil.example', `evil.example:${port}`, '127.0.0.1.nip.io', 'localhost.']) {
      for (const path of PATHS) {
        const { status, text } = await ask('GET', path, { host });
        const expected = host === 'localhost.' ? expect.not.stringMatching(/^421$/) : '421';
        expect([host, path, String(status)]).toEqual([host, path, expected]);
        if (status === 421) expect(text).not.toContain('evil');
      }
    }
  });

  test('still gets health and metrics, as probes and Prometheus ask', async () => {
    for (const path of ['/health/live', '/health/ready', '/metrics']) {
      expect((await ask('GET', path, { host: 'broker.default.svc' })).status).toBe(200);
    }
  });

  test('is ours when it is configured', async () => {
    expect((await ask('GET', '/', { host: 'status.example.com' })).status).toBe(200);
    // And is no name of this machine: nobody is signed in.
    expect((await ask('GET', '/', { host: 'status.example.com' })).text).not.toContain('acting as');
  });
});

describe('who has not signed in', () => {
  test('sees tokens, store and provider; neither peers nor claims nor actions', async () => {
    await getToken(broker.url, basic('demo', secret));
    const { status, text } = await ask('GET', '/', FROM_ELSEWHERE);
    expect(status).toBe(200);
    expect(plain(text)).toMatch(/Everything is well.*default.*left.*Secret store.*embedded/);
    expect(text).toContain('href="sign-in"');
    for (const word of ['demo', 'confirm?do=', 'services.example.test', 'jti', 'action="try"']) {
      expect([word, text.includes(word)]).toEqual([word, false]);
    }
  });

  test('is asked to sign in for everything else, and nothing is done', async () => {
    const before = await getToken(broker.url, basic('demo', secret));
    for (const [method, path] of [
      ['GET', '/sign-in'],
      ['GET', '/confirm?do=rotate&token=default'],
      ['POST', '/act'],
      ['POST', '/try'],
    ] as const) {
      const { status, headers } = await ask(method, path, { ...FROM_ELSEWHERE, ...FORM });
      expect([path, status, headers['www-authenticate']]).toEqual([
        path,
        401,
        'Basic realm="service-token-broker", charset="UTF-8"',
      ]);
    }
    expect((await getToken(broker.url, basic('demo', secret))).etag).toBe(before.etag);
  });

  test('the script that updates the page brings up no question of the browser', async () => {
    const headers = { authorization: basic('demo', 'wrong'), 'sec-fetch-dest': 'empty' };
    const answer = await ask('GET', '/', headers);
    expect([answer.status, answer.headers['www-authenticate']]).toEqual([401, undefined]);
  });
});

describe('signing in', () => {
  test('takes a peer with the role admin, from anywhere', async () => {
    const headers = { ...FROM_ELSEWHERE, authorization: basic('demo', secret) };
    const signedIn = await ask('GET', '/sign-in', headers);
    expect([signedIn.status, signedIn.headers.location]).toEqual([303, './']);
    const { text } = await ask('GET', '/', headers);
    expect(plain(text)).toContain('Signed in as demo');
    // Dev mode's own part is for who sits at this machine.
    expect(text).not.toContain('action="try"');
  });

  test('refuses a peer without the role, and counts wrong secrets', async () => {
    const refused = await ask('GET', '/', { authorization: logins.get('plain') ?? '' });
    expect([refused.status, plain(refused.text)]).toEqual([
      403,
      expect.stringContaining('does not have the role admin'),
    ]);
    const statuses = [];
    for (let times = 0; times < 12; times += 1) {
      statuses.push((await ask('GET', '/', { authorization: basic('guess', 'wrong') })).status);
    }
    expect([statuses[0], statuses.at(-1)]).toEqual([401, 429]);
  });

  test('ends with a refusal, by which browsers forget the secret', async () => {
    const headers = { ...FROM_ELSEWHERE, authorization: basic('demo', secret) };
    const out = await ask('GET', '/sign-out', headers);
    expect([out.status, out.headers['www-authenticate']]).toEqual([
      401,
      expect.stringContaining('Basic'),
    ]);
    expect((await ask('GET', '/sign-out', FROM_ELSEWHERE)).status).toBe(303);
  });
});

describe('a form', () => {
  const rotate = { do: 'rotate', token: 'default' };
  const shown = async (): Promise<Record<string, string>> =>
    fieldsOf(await ask('GET', '/confirm?do=rotate&token=default'));

  test('that the page has not shown does nothing, and is in the audit', async () => {
    const before = await getToken(broker.url, basic('demo', secret));
    const good = await shown();
    const repair = fieldsOf(await ask('GET', '/confirm?do=repair&token=default'));
    const cases: readonly (readonly [string, Record<string, string>, Record<string, string>])[] = [
      ['without a token', rotate, {}],
      ['with a wrong token', { ...rotate, form: `${good['form']?.slice(0, -1)}_` }, {}],
      ['with that of another action', { ...rotate, form: repair['form'] ?? '' }, {}],
      ['of another site', good, { origin: 'http://evil.example' }],
      ['of a frame', good, { origin: 'null' }],
      ['of another site, says the browser', good, { 'sec-fetch-site': 'cross-site' }],
      ['of a sibling', good, { 'sec-fetch-site': 'same-site' }],
    ];
    for (const [what, fields, headers] of cases) {
      expect([what, (await send('/act', fields, headers)).status]).toEqual([what, 403]);
    }
    const noOrigin = await ask('POST', '/act', FORM, String(new URLSearchParams(good)));
    expect(noOrigin.status).toBe(403);
    const json = { origin, 'content-type': 'application/json' };
    expect((await ask('POST', '/act', json, JSON.stringify(good))).status).toBe(400);
    expect((await ask('POST', '/act', { ...FORM, origin }, 'x='.repeat(20_000))).status).toBe(413);
    expect((await ask('GET', `/act?${String(new URLSearchParams(good))}`)).status).toBe(405);
    // Another peer's form.
    const other = { ...FROM_ELSEWHERE, authorization: basic('guess', 'wrong') };
    expect((await send('/act', good, other)).status).toBe(429);
    expect((await getToken(broker.url, basic('demo', secret))).etag).toBe(before.etag);
    const reasons = (await audit('login_failed')).filter(({ outcome }) => outcome === 'invalid');
    expect(new Set(reasons.map(({ reason }) => reason))).toEqual(
      new Set(['FORM_FORGED', 'FORM_EXPIRED', 'INVALID_REQUEST']),
    );
  });

  test.each([
    'do=rotate',
    'do=rotate&token=No',
    'do=disable&peer=%3Cb%3E',
    'do=drop&token=default',
    '',
  ])('for %j is not shown', async (query) => {
    const { status, text } = await ask('GET', `/confirm?${query}`);
    expect([status, text.includes('<form')]).toEqual([404, false]);
  });
});

describe('an admin', () => {
  test('rotates, and sees the new version', async () => {
    const before = await getToken(broker.url, basic('demo', secret));
    const page = await act('do=rotate&token=default');
    expect(plain(page.text)).toMatch(/Rotated\. default: A new token is served from now on\./);
    const after = await getToken(broker.url, basic('demo', secret));
    expect(after.etag).not.toBe(before.etag);
    expect(plain(page.text)).toContain('rotated, for an admin, in');
    expect(await audit('rotated', 'demo')).toContainEqual(
      expect.objectContaining({ outcome: 'rotated', peer: 'demo', token: 'default' }),
    );
  });

  test('is told when there is nothing to repair', async () => {
    const page = await act('do=repair&token=default');
    expect(plain(page.text)).toContain('Nothing to repair. default: no version is pending');
    expect(await audit('repaired')).toContainEqual(
      expect.objectContaining({ outcome: 'repaired', reason: 'NOTHING_PENDING', peer: 'demo' }),
    );
  });

  test('disables a peer, which is refused at once, and enables it again', async () => {
    const env = { BROKER_DATA_DIR: dataDir };
    const login = logins.get('billing') ?? '';
    expect((await getToken(broker.url, login)).status).toBe(200);
    expect(plain((await act('do=disable&peer=billing')).text)).toContain('Disabled. billing');
    expect((await getToken(broker.url, login)).status).toBe(401);
    const list = await runCommand(['peers', 'list', '--json'], env);
    expect(list.stdout).toMatch(/"id":\s*"billing"[^}]*"enabled":\s*false/);
    const { text } = await ask('GET', '/?peer=bill');
    expect(plain(text)).toMatch(/billing disabled.*last: it is disabled/);
    expect(plain((await act('do=enable&peer=billing')).text)).toContain('Enabled. billing');
    expect((await getToken(broker.url, login)).status).toBe(200);
    expect(await audit('peer_enabled')).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ outcome: 'peer_disabled', peer: 'demo', subject: 'billing' }),
        expect.objectContaining({ outcome: 'peer_enabled', peer: 'demo', subject: 'billing' }),
      ]),
    );
  });

  test('is told why something cannot be done', async () => {
    expect(plain((await act('do=disable&peer=nobody')).text)).toContain('There is no peer');
    expect(plain((await act('do=rotate&token=nothing')).text)).toContain('no such token');
    expect(plain((await act('do=disable&peer=demo')).text)).toContain('signed in as this peer');
    expect(await audit('action_failed')).toContainEqual(
      expect.objectContaining({ outcome: 'action_failed', reason: 'PEER_UNKNOWN' }),
    );
  });

  test('sees who asked, by which identity, and why somebody was refused', async () => {
    const text = plain((await ask('GET', '/')).text);
    expect(text).toMatch(/demo.*times, last by its secret, for default/);
    expect(text).toMatch(/could not log in|was asked to slow down/);
  });
});

describe('dev mode', () => {
  test('shows the claims of the token, and the rule that classified it', async () => {
    const text = plain((await ask('GET', '/')).text);
    expect(text).toMatch(/client_id .*service-token-broker-dev/);
    expect(text).toMatch(/signature The issuer signed it/);
    expect(text).toContain('decided: a service token, by profile &quot;rfc9068&quot;');
  });

  test("mints a customer's token, and says what receivers make of it", async () => {
    const { text } = await ask('GET', '/');
    const [, form = ''] = /name="form" value="([^"]+)"/.exec(text.replaceAll(/\s+/g, ' ')) ?? [];
    const tried = await send('/try', { subject: 'ann <b>', scope: 'read', form });
    expect(tried.status).toBe(200);
    expect(plain(tried.text)).toMatch(
      /This is the token of a customer.*@AllowCustomer\(\) lets it in/,
    );
    expect(tried.text).toContain('ann &lt;b&gt;');
    expect((await send('/try', { subject: 'ann' })).status).toBe(403);
    expect((await send('/try', { subject: 'ann', form }, FROM_ELSEWHERE)).status).toBe(401);
  });
});

test('no answer has a token or a secret', async () => {
  const { body } = await getToken(broker.url, basic('demo', secret));
  const app = JSON.parse(await readFile(join(dataDir, 'dev-customer-app.json'), 'utf8')) as {
    secret: string;
  };
  const all = answers.join('\n');
  expect(all.length).toBeGreaterThan(100_000);
  const others = [...logins.values()].map((login) => login.slice('Basic '.length));
  for (const hidden of [body.access_token, secret, app.secret, ...others]) {
    expect(all.includes(hidden)).toBe(false);
    expect(all.includes(Buffer.from(hidden).toString('base64'))).toBe(false);
  }
  expect(all).not.toMatch(/eyJ[\w-]{10,}/);
  expect(broker.stderr()).toBe('');
});
