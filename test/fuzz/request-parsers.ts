import { parse as parseQuery } from 'node:querystring';
import { createRequire } from 'node:module';
import { decideRoute, isExcepted } from '../../src/composition/proxy-rules.js';
import { addressRange, proxyUrl, url } from '../../src/config/values.js';
import { FunctionError } from '../../src/lambda/invocation.js';
import { isConfiguredSecret, readRotationEvent } from '../../src/lambda/rotation-function.js';
import {
  isForwarded,
  isLoopbackName,
  isOwnForm,
  isOwnHost,
} from '../../src/operations/status-page/page-guard.js';
import {
  alternativeNames,
  certificateIdentity,
  proofOfName,
} from '../../src/peers/certificate-names.js';
import { forwardedNames } from '../../src/peers/forwarded-certificate.js';
import { parseBasicCredentials } from '../../src/peers/peer-credentials.js';
import { gatewayTarget, parsePolicy, policyText } from '../../src/serving/authorize-endpoint.js';
import { plainPath, queryOf, type EndpointRequest } from '../../src/serving/endpoint.js';
import { readForm, type Form } from '../../src/serving/form.js';
import { matchesEntityTag } from '../../src/serving/token-endpoint.js';
import { waitPreference } from '../../src/serving/waiting-peers.js';
import { httpEvent, httpScene } from '../lambda/support/http-function.js';
import { require, type Parser } from './fuzzing.js';
import { CANARY } from './mutations.js';

/** What NestJS' adapter of Fastify parses forms with. */
const { parse: parseForm } = createRequire(
  createRequire(import.meta.url).resolve('@nestjs/platform-fastify'),
)('fast-querystring') as { parse: (text: string) => Record<string, string | string[]> };

/** As Node gives header values and request targets. */
const latin1 = (input: Buffer): string => input.toString('latin1');
const utf8 = (input: Buffer): string => input.toString('utf8');
const linesOf = (input: Buffer): readonly string[] => latin1(input).split('\n');

const requestOf = (more: Partial<EndpointRequest>): EndpointRequest => ({
  method: 'POST',
  url: '/oauth2/token',
  headers: { 'content-type': ['application/x-www-form-urlencoded'] },
  remoteAddress: '10.0.0.1',
  encrypted: true,
  ...more,
});

const form: Parser = {
  name: 'form of a token request',
  seeds: [
    `grant_type=client_credentials&client_id=ledger&client_secret=${CANARY}&scope=a+b`,
    'grant_type=client_credentials&resource=https%3A%2F%2Fa&resource=https%3A%2F%2Fb&audience=',
  ],
  words: [
    'grant_type',
    'client_id',
    'client_secret',
    'resource',
    'audience',
    '&',
    '=',
    '%',
    '%E2%82',
    '+',
    ';',
    '[]',
  ],
  run: (input) => {
    const text = utf8(input);
    const body = parseForm(text);
    // Refused by the adapter before it gets here.
    if (Object.hasOwn(body, '__proto__')) return 'prototype';
    const read = readForm(requestOf({ body: { ...body } }));
    if (!isForm(read)) {
      require(read.status >= 400 && read.status < 500, `status ${read.status}`);
      return `status ${read.status}`;
    }
    const theirs = new URLSearchParams(text);
    for (const [name, values] of read) {
      // An unknown name is ignored (RFC 6749 §3.2), whatever a parser makes of its escapes.
      if (!/^[a-z_]+$/.test(name)) continue;
      const filled = theirs.getAll(name).filter((value) => value !== '');
      require(JSON.stringify(values) ===
        JSON.stringify(filled), 'URLSearchParams reads other values');
      const node = [parseQuery(text)[name] ?? []].flat().filter((value) => value !== '');
      require(JSON.stringify(values) ===
        JSON.stringify(node), "Node's querystring reads other values");
    }
    return `${read.size} parameters`;
  },
};

function isForm(read: Form | object): read is Form {
  return read instanceof Map;
}

const basic: Parser = {
  name: 'Authorization: Basic',
  seeds: [
    `Basic ${btoa(`ledger:${CANARY}`)}`,
    `basic  ${btoa('a%20b:%C3%A9+x')}`,
    `Basic ${Buffer.from('é:ü').toString('base64')}`,
  ],
  words: ['Basic ', btoa(':'), btoa('a:'), '=', '==', 'Og==', 'Bearer '],
  run: (input) => {
    const header = latin1(input);
    const read = parseBasicCredentials(header);
    if (read === undefined) return 'refused';
    const encoded = header.replace(/^basic +/i, '');
    const theirs = Buffer.from(atob(encoded), 'latin1').toString('utf8');
    const colon = theirs.indexOf(':');
    const decoded = (text: string): string | null =>
      new URLSearchParams(`x=${text.replaceAll('&', '%26')}`).get('x');
    require(decoded(theirs.slice(0, colon)) === read.id, 'another id');
    require(decoded(theirs.slice(colon + 1)) === read.secret, 'another secret');
    return 'read';
  },
};

/** As Node writes a list of names: what could be mistaken for several stands as a JSON string. */
function asNode(names: readonly { readonly kind: string; readonly value: string }[]): string {
  return names
    .map(
      ({ kind, value }) =>
        `${kind.toUpperCase()}:${/[",\\']/.test(value) ? JSON.stringify(value) : value}`,
    )
    .join(', ');
}

const alternative: Parser = {
  name: "names of a certificate, in Node's words",
  seeds: [
    'URI:spiffe://prod.example.com/settle, IP Address:10.0.0.1, DNS:"a, DNS:b"',
    'DNS:settle.shop.svc',
    'othername:<unsupported>, DirName:"CN = a, O = b"',
  ],
  words: [', ', 'URI:', 'DNS:', 'IP Address:', 'email:', '"', '\\"', '\\,', '*.'],
  run: (input) => {
    const names = alternativeNames(utf8(input));
    if (names === undefined) return 'refused';
    for (const name of names) {
      const proof = proofOfName(name);
      const identity = certificateIdentity(name.kind, name.value);
      // What a certificate proves, a peer could have been given by the same name.
      if (proof !== undefined && !name.value.includes('*')) {
        require(typeof identity !== 'string', 'a name that no peer can be given proves something');
      }
    }
    const again = alternativeNames(asNode(names));
    require(names.length === 0 ||
      JSON.stringify(again) === JSON.stringify(names), 'written as Node does, it reads otherwise');
    return `${names.length} names`;
  },
};

const forwarded: Parser = {
  name: 'X-Forwarded-Client-Cert',
  seeds: [
    'By=spiffe://a/proxy;Hash=00;Subject="CN=x, O=\\"y\\"";URI=spiffe://prod.example.com/settle;DNS=settle.shop.svc',
    'Hash=1;URI=,By=a;URI=spiffe://b/c;DNS=d.e;DNS=f.g',
  ],
  words: [';', ',', '=', 'URI=', 'uri=', 'DNS=', 'By=', 'Hash=', 'Cert="', '\\"', '",'],
  run: (input) => {
    const names = forwardedNames(latin1(input));
    if (names === undefined) return 'refused';
    const fits = ({ value }: { readonly value: string }): boolean => !/[\p{Cc}\\"]/u.test(value);
    if (!names.every(fits)) return 'quoted';
    // Nothing of an element before the last counts: with one more in front it is the same.
    const again = forwardedNames(
      `URI=spiffe://other/one,${names.map(({ kind, value }) => `${kind.toUpperCase()}="${value}"`).join(';')}`,
    );
    require(names.length === 0 ||
      JSON.stringify(again) === JSON.stringify(names), 'written again, it reads otherwise');
    return `${names.length} names`;
  },
};

const proxies: Parser = {
  name: 'HTTPS_PROXY and NO_PROXY',
  seeds: [
    `http://user:${CANARY}@proxy.example.com:3128\n.example.com, 10.0.0.0/8 [::1]:8080`,
    'proxy:3128\n*',
    'https://[2001:db8::1]:8443\nmüller.example,*.internal',
  ],
  words: [
    'http://',
    'socks5://',
    '@',
    '%',
    '%40',
    ':',
    '/8',
    '/129',
    '[',
    ']',
    '*',
    '*.',
    '::ffff:1.2.3.4',
  ],
  run: (input) => {
    const [text = '', ...rest] = utf8(input).split('\n');
    const noProxy = rest.join(' ');
    const read = proxyUrl.safeParse(text);
    if (!read.success) {
      // The issues are what the mistakes are made of.
      require(!JSON.stringify(read.error.issues).includes(
        CANARY.slice(4, 16),
      ), 'an issue shows the password');
    }
    const proxy = read.success ? read.data : undefined;
    if (proxy !== undefined) {
      require(new URL(proxy.url).username === '', 'the address holds a user');
      require(!JSON.stringify(proxy).includes(CANARY), 'the password can be seen');
    }
    for (const hostname of ['api.example.com', '10.1.2.3', '[2001:db8::5]', 'localhost']) {
      const route = decideRoute(
        { protocol: 'https:', hostname, port: '' },
        { httpsProxy: proxy, httpProxy: undefined, noProxy },
      );
      if (hostname === 'localhost')
        require(route.proxy === undefined, 'this machine is behind a proxy');
    }
    require(isExcepted('a.example', '443', `${noProxy} *`), '"*" does not except everything');
    return `${String(read.success)} ${read.success ? '' : String(read.error.issues[0]?.message)}`;
  },
};

const addresses: Parser = {
  name: 'addresses, ranges and URLs of settings',
  seeds: [
    '10.0.0.0/24\nhttps://a.example/b?c=d',
    '::1/128\nhttp://localhost',
    'fe80::1%eth0/64\nhttps://a:b@c/',
  ],
  words: ['/0', '/33', '::', '::ffff:0:0/96', '.', '0x7f', '%', 'https://', 'http:\\\\', '#', '@'],
  run: (input) => {
    const [range = '', address = ''] = utf8(input).split('\n', 2);
    const one = addressRange.safeParse(range);
    if (one.success)
      require(one.data.prefix >= 1 && one.data.prefix <= 128, 'a prefix that is none');
    const two = url({ query: true }).safeParse(address);
    if (two.success) {
      const parsed = new URL(two.data);
      require(parsed.username === '' && parsed.hash === '', 'a user or a fragment was accepted');
    }
    return `${String(one.success)} ${String(two.success)}`;
  },
};

const gateway: Parser = {
  name: 'what a gateway asks',
  seeds: [
    '/v1/authorize?allow=service&scope=a+b&audience=x',
    '/v1/authorize/allow=service&allow=customer/orders/1?x=y',
    '/v1/token?min_ttl=60',
  ],
  words: [
    '/v1/authorize',
    'allow=',
    'service',
    'customer',
    'scope=',
    'audience=',
    '?',
    '/',
    '%2F',
    '%00',
    '..',
    '&',
  ],
  run: (input) => {
    const target = latin1(input);
    const cut = gatewayTarget(target);
    require(gatewayTarget(cut) === cut || cut.includes('?'), 'cut again, it is another target');
    void queryOf(target);
    if (!plainPath(target).startsWith('/v1/authorize')) return 'elsewhere';
    const text = policyText(target);
    if (text === undefined) return 'none';
    const policy = parsePolicy(text);
    if ('error' in policy) return policy.error;
    const query = new URLSearchParams(text);
    const { customers, services, scopes } = policy.requirement;
    require(customers === query.getAll('allow').includes('customer'), 'customers');
    require((services === 'all') === query.getAll('allow').includes('service'), 'services');
    require(scopes.every((scope) => !/[\s"\\]/.test(scope)), 'a scope that could leave its quotes');
    return `${String(customers)} ${services === 'all'} ${scopes.length}`;
  },
};

const HEADERS = [
  'host',
  'origin',
  'sec-fetch-site',
  'x-forwarded-for',
  'forwarded',
  'if-none-match',
  'prefer',
] as const;

const pageHeaders: Parser = {
  name: 'Host, Origin, Forwarded and conditional headers',
  seeds: [
    'localhost:3001\nhttp://localhost:3001\nsame-origin\n\n\n"v1", W/"v2"\nwait=30, respond-async',
  ],
  words: [
    'localhost',
    '127.0.0.1',
    '[::1]',
    'null',
    'https://',
    'W/',
    '"',
    '*',
    'wait=',
    '.localhost',
    '@',
    '\\',
  ],
  run: (input) => {
    const values = linesOf(input);
    const headers: Record<string, string[]> = {};
    HEADERS.forEach((name, at) => {
      const value = values[at];
      if (value !== undefined && value !== '') headers[name] = [value];
    });
    const host = headers['host']?.[0];
    const isOwn = isOwnForm({ headers });
    const origin = headers['origin']?.[0];
    if (isOwn && origin !== undefined)
      require(new URL(origin).origin === origin, 'a form of no origin');
    if (isLoopbackName(host)) require(isOwnHost(host, []), 'this machine is not this machine');
    const seconds = waitPreference(headers['prefer']);
    require(Number.isInteger(seconds) && seconds >= 0 && seconds <= 3_600, 'a wait that is none');
    const isMatch = matchesEntityTag(headers['if-none-match']?.[0] ?? '', '"v1"');
    return [isOwn, isForwarded({ headers }), isMatch, seconds > 0].join();
  },
};

/** Lambda itself reads the JSON of events. */
function eventIn(input: Buffer): { readonly event: unknown } | undefined {
  try {
    return { event: JSON.parse(utf8(input)) };
  } catch {
    return undefined;
  }
}

const rotationEvent: Parser = {
  name: 'event of a rotation (Lambda)',
  seeds: [
    JSON.stringify({
      Step: 'createSecret',
      SecretId: 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:token-AbCdEf',
      ClientRequestToken: '01234567-89ab-cdef-0123-456789abcdef',
      RotationToken: CANARY,
    }),
  ],
  words: [
    'Step',
    'SecretId',
    'ClientRequestToken',
    'RotationToken',
    'finishSecret',
    'arn:',
    'secret:',
  ],
  refusesWith: [FunctionError],
  run: (input) => {
    const given = eventIn(input);
    if (given === undefined) return 'no JSON';
    const event = readRotationEvent(given.event);
    require(/^[!-~]+$/.test(event.secretId), 'an id of other characters');
    return `${event.step} ${String(isConfiguredSecret(event.secretId, 'token'))}`;
  },
};

const logged: string[] = [];
const scene = httpScene({ write: (line) => logged.push(line) });

const httpFunction: Parser = {
  name: 'event of the HTTP function (Lambda)',
  seeds: [
    JSON.stringify(httpEvent('/v1/token')),
    JSON.stringify(
      httpEvent('/oauth2/token', {
        method: 'POST',
        form: `grant_type=client_credentials&client_secret=${CANARY}`,
      }),
    ),
    JSON.stringify(
      httpEvent('/v1/token', {
        query: 'min_ttl=60',
        headers: { 'if-none-match': '*', 'x-forwarded-for': '1.2.3.4' },
      }),
    ),
  ],
  words: [
    'version',
    '2.0',
    'rawPath',
    'requestContext',
    'authorizer',
    'iam',
    'userArn',
    'headers',
    'stage',
    '$default',
    '/v1/rotate',
  ],
  refusesWith: [FunctionError],
  isSlow: true,
  run: async (input) => {
    const given = eventIn(input);
    if (given === undefined) return 'no JSON';
    const { statusCode, body } = await scene.handler(given.event, {
      awsRequestId: 'request-1',
      getRemainingTimeInMillis: () => 10_000,
    });
    require(statusCode >= 200 && statusCode < 600 && statusCode !== 500, `status ${statusCode}`);
    const said = `${logged.splice(0).join('')} ${statusCode === 200 ? '' : body}`;
    require(!said.includes(CANARY.slice(2, 14)), 'a log line or an answer shows a secret');
    return `${statusCode} ${body.slice(0, 60).replaceAll(/\d+/g, '0')}`;
  },
};

/** What a broker reads of requests, of those in front of it, and of its settings. */
export const REQUEST_PARSERS: readonly Parser[] = [
  form,
  basic,
  alternative,
  forwarded,
  gateway,
  pageHeaders,
  proxies,
  addresses,
  rotationEvent,
  httpFunction,
];
