import { describe, expect, test } from '@jest/globals';
import {
  readAllowedOrigins,
  type AllowedOrigin,
  decideAttachment,
  type Attachment,
  type OtherOrigins,
  type OutsideCalls,
  originOf,
} from '../../../src/client/attachment/attachment-rules.js';
import { type Behalf } from '../../../src/context/call-context.js';
import { fc } from '../../support/properties.js';
import { assertNoCanary } from '../../support/canaries.js';
import { CUSTOMER_CALL, CUSTOMER_TOKEN, SERVICE_CALL } from './support/principals.js';

const BILLING = 'https://billing.internal';
const LEDGER = 'https://ledger.internal';
const STRANGER = 'https://api.stranger.example';
const LIST: readonly AllowedOrigin[] = [
  { origin: BILLING, acceptsCustomers: true },
  { origin: LEDGER },
];

interface Situation {
  readonly origin?: string | undefined;
  readonly as?: unknown;
  readonly hasAuthorization?: boolean;
  readonly otherOrigins?: OtherOrigins;
  readonly outsideCalls?: OutsideCalls;
  /** Default: outside of every call. */
  readonly by?: Behalf;
}

function decide({
  origin,
  as,
  hasAuthorization = false,
  otherOrigins = 'refuse',
  outsideCalls = 'refuse',
  by = 'outside',
}: Situation): Attachment {
  const rules = { origins: readAllowedOrigins(LIST), otherOrigins, outsideCalls };
  return decideAttachment({ origin, as, hasAuthorization }, rules, by);
}

/** The kind of what is attached, or the code of the refusal. */
function outcome(situation: Situation): string {
  const attachment = decide(situation);
  return attachment.kind === 'refused' ? attachment.error.code : attachment.kind;
}

const UNKNOWN = ['outside', 'unjudged', 'refused', 'nobody', 'ended'] as const;
const customer = CUSTOMER_CALL;
const service = SERVICE_CALL;

describe('what a request gets', () => {
  test.each<[string, Situation, string]>([
    ['outside of calls', { origin: LEDGER }, 'CALL_CONTEXT_UNKNOWN'],
    ['outside, where customers are accepted', { origin: BILLING }, 'CALL_CONTEXT_UNKNOWN'],
    ['outside, as service', { origin: BILLING, as: 'service' }, 'service-token'],
    ['outside, let', { origin: LEDGER, outsideCalls: 'service' }, 'service-token'],
    ['not judged yet', { origin: LEDGER, by: 'unjudged' }, 'CALL_CONTEXT_UNKNOWN'],
    ['refused', { origin: LEDGER, by: 'refused' }, 'CALL_CONTEXT_UNKNOWN'],
    ['public', { origin: LEDGER, by: 'nobody' }, 'CALL_CONTEXT_UNKNOWN'],
    ['ended', { origin: BILLING, by: 'ended' }, 'CALL_CONTEXT_ENDED'],
    ['ended, as customer', { origin: BILLING, by: 'ended', as: 'customer' }, 'CALL_CONTEXT_ENDED'],
    ['ended, as service', { origin: BILLING, by: 'ended', as: 'service' }, 'service-token'],
    ['this service', { origin: LEDGER, by: 'service' }, 'service-token'],
    ['a service', { origin: LEDGER, by: service }, 'service-token'],
    ['a service, as service', { origin: LEDGER, by: service, as: 'service' }, 'service-token'],
    [
      'a service, as customer',
      { origin: BILLING, by: service, as: 'customer' },
      'CUSTOMER_REQUIRED',
    ],
    [
      'this service, as customer',
      { origin: BILLING, by: 'service', as: 'customer' },
      'CUSTOMER_REQUIRED',
    ],
    ['nobody, as customer', { origin: BILLING, as: 'customer' }, 'CUSTOMER_REQUIRED'],
    ['a customer, where accepted', { origin: BILLING, by: customer }, 'customer-token'],
    ['the same, as customer', { origin: BILLING, by: customer, as: 'customer' }, 'customer-token'],
    ['a customer, not accepted', { origin: LEDGER, by: customer }, 'CUSTOMER_NOT_ACCEPTED'],
    [
      'the same, as customer',
      { origin: LEDGER, by: customer, as: 'customer' },
      'CUSTOMER_NOT_ACCEPTED',
    ],
    ['a customer, as service', { origin: LEDGER, by: customer, as: 'service' }, 'service-token'],
    ['the same, where accepted', { origin: BILLING, by: customer, as: 'service' }, 'service-token'],
    ['a mistyped as', { origin: LEDGER, as: 'sevice' }, 'CALLER_UNKNOWN'],
    ['an as of null', { origin: LEDGER, as: null }, 'CALLER_UNKNOWN'],
    ['an unlisted origin', { origin: STRANGER }, 'ORIGIN_NOT_LISTED'],
    ['the same, for a customer', { origin: STRANGER, by: customer }, 'ORIGIN_NOT_LISTED'],
    ['the same, as service', { origin: STRANGER, as: 'service' }, 'ORIGIN_NOT_LISTED'],
    ['no origin', { origin: undefined }, 'ORIGIN_NOT_LISTED'],
    ['others let pass', { origin: STRANGER, otherOrigins: 'send-without-token' }, 'nothing'],
    [
      'the same, for a customer',
      { origin: STRANGER, by: customer, otherOrigins: 'send-without-token' },
      'nothing',
    ],
    ['no origin, others let pass', { otherOrigins: 'send-without-token' }, 'nothing'],
    [
      'others let pass, and a token is counted on',
      { origin: STRANGER, as: 'service', otherOrigins: 'send-without-token' },
      'ORIGIN_NOT_LISTED',
    ],
    ['a header of its own', { origin: LEDGER, hasAuthorization: true }, 'nothing'],
    [
      'the same, for a customer',
      { origin: LEDGER, by: customer, hasAuthorization: true },
      'nothing',
    ],
    ['the same, unlisted', { origin: STRANGER, hasAuthorization: true }, 'nothing'],
    ['another port', { origin: `${BILLING}:8443` }, 'ORIGIN_NOT_LISTED'],
    ['another scheme', { origin: 'http://billing.internal' }, 'ORIGIN_NOT_LISTED'],
    ['a subdomain', { origin: 'https://a.billing.internal' }, 'ORIGIN_NOT_LISTED'],
    ['a superdomain', { origin: 'https://internal' }, 'ORIGIN_NOT_LISTED'],
  ])('%s', (_name, situation, expected) => {
    expect(outcome(situation)).toBe(expected);
  });

  test('the customer gets its own token', () => {
    expect(decide({ origin: BILLING, by: customer })).toEqual({
      kind: 'customer-token',
      token: CUSTOMER_TOKEN,
    });
  });

  test.each<[Situation, RegExp]>([
    [{ origin: STRANGER }, /https:\/\/api\.stranger\.example, .*"origins".*send-without-token/],
    [{ origin: STRANGER, as: 'service' }, /Add its origin there, or leave "as" out/],
    [{ origin: undefined }, /not an absolute http or https URL/],
    [
      { origin: LEDGER, by: customer },
      /https:\/\/ledger\.internal .*acceptsCustomers: true.*as: 'service'/,
    ],
    [{ origin: BILLING, as: 'customer' }, /https:\/\/billing\.internal .*no customer/],
    [
      { origin: LEDGER },
      /https:\/\/ledger\.internal .*outside of every call.*as: 'service'.*runAsService\(\).*RunAsService\(\).*outsideCalls: 'service'/,
    ],
    ...(['unjudged', 'refused', 'nobody'] as const).map((by): [Situation, RegExp] => [
      { origin: LEDGER, by },
      /as: 'service'.*runAsService\(\).*AllowCustomer\(\) or AllowService\(\)/,
    ]),
    [
      { origin: LEDGER, by: 'ended' },
      /over.*as: 'service'.*runAsService\(\).*runWithPrincipal\(\)/,
    ],
  ])('a refusal says what to do: %j', (situation, message) => {
    const attachment = decide(situation);
    expect(attachment).toMatchObject({
      kind: 'refused',
      error: { kind: 'misconfigured', message: expect.stringMatching(message) },
    });
    if (attachment.kind === 'refused') assertNoCanary(String(attachment.error.stack));
  });
});

describe('whatever the situation', () => {
  const anyOrigin = fc.oneof(
    fc.constantFrom(BILLING, LEDGER, STRANGER, undefined, 'https://billing.internal.evil.example'),
    fc.webUrl().map((url) => new URL(url).origin),
    fc.string(),
  );
  const situations = fc.record({
    origin: anyOrigin,
    as: fc.oneof(fc.constantFrom(undefined, 'service', 'customer'), fc.anything()),
    hasAuthorization: fc.boolean(),
    otherOrigins: fc.constantFrom<OtherOrigins>('refuse', 'send-without-token'),
    outsideCalls: fc.constantFrom<OutsideCalls>('refuse', 'service'),
    by: fc.constantFrom<Behalf[]>(customer, service, 'service', ...UNKNOWN),
  });
  const getsToken = (attachment: Attachment): boolean =>
    attachment.kind === 'service-token' || attachment.kind === 'customer-token';

  test('no token goes to an origin that is not listed', () => {
    fc.assert(
      fc.property(situations, (situation) => {
        fc.pre(situation.origin !== BILLING && situation.origin !== LEDGER);
        expect(getsToken(decide(situation))).toBe(false);
      }),
    );
  });

  test('on a customer’s behalf the service token is sent only when the request says so', () => {
    fc.assert(
      fc.property(situations, (situation) => {
        fc.pre(situation.as !== 'service');
        expect(decide({ ...situation, by: customer }).kind).not.toBe('service-token');
      }),
    );
  });

  test('the service token is sent only when somebody has said so', () => {
    fc.assert(
      fc.property(situations, (situation) => {
        const { as, by, outsideCalls } = situation;
        const said = by === 'service' || by === service || as === 'service';
        fc.pre(!said && !(by === 'outside' && outsideCalls === 'service'));
        expect(decide(situation).kind).not.toBe('service-token');
      }),
    );
  });

  test('a customer’s token goes only where customers are accepted, and only the customer’s in the context', () => {
    fc.assert(
      fc.property(situations, (situation) => {
        const attachment = decide(situation);
        if (attachment.kind !== 'customer-token') return;
        expect(situation).toMatchObject({ origin: BILLING, by: customer });
        expect(attachment.token).toBe(CUSTOMER_TOKEN);
      }),
    );
  });

  test('an Authorization of the caller is left alone', () => {
    fc.assert(
      fc.property(situations, (situation) => {
        expect(decide({ ...situation, hasAuthorization: true })).toEqual({ kind: 'nothing' });
      }),
    );
  });

  test('a request to a listed origin gets a token or an error, never neither', () => {
    fc.assert(
      fc.property(situations, fc.constantFrom(BILLING, LEDGER), (situation, origin) => {
        const attachment = decide({ ...situation, origin, hasAuthorization: false });
        expect(attachment.kind).not.toBe('nothing');
      }),
    );
  });
});

const read = (...entries: readonly unknown[]) =>
  [...readAllowedOrigins(entries as readonly AllowedOrigin[])].map(
    ([origin, { acceptsCustomers }]) => `${origin}${acceptsCustomers ? ' +customers' : ''}`,
  );

describe('the allow-list', () => {
  test.each<[unknown, string]>([
    [{ origin: 'https://billing.internal' }, 'https://billing.internal'],
    [{ origin: 'https://billing.internal/' }, 'https://billing.internal'],
    [{ origin: 'HTTPS://Billing.Internal:443' }, 'https://billing.internal'],
    [{ origin: 'https://billing.internal:8443' }, 'https://billing.internal:8443'],
    [{ origin: 'https://bücher.example' }, 'https://xn--bcher-kva.example'],
    [{ origin: 'https://a.internal', acceptsCustomers: true }, 'https://a.internal +customers'],
    [{ origin: 'https://a.internal', acceptsCustomers: false }, 'https://a.internal'],
    [{ origin: 'http://localhost:3000' }, 'http://localhost:3000'],
    [{ origin: 'http://127.0.0.1:3000' }, 'http://127.0.0.1:3000'],
    [{ origin: 'http://[::1]:3000' }, 'http://[::1]:3000'],
    [{ origin: 'http://billing', allowInsecureHttp: true }, 'http://billing'],
  ])('takes %j', (entry, expected) => {
    expect(read(entry)).toEqual([expected]);
  });

  test.each<[string, readonly unknown[], RegExp]>([
    ['no entry', [], /"origins" must list/],
    ['text', ['https://a.internal'], /origins\[0\]\.origin" must be an https origin/],
    ['nothing', [undefined], /origins\[0\]\.origin/],
    ['no URL', [{ origin: 'a.internal' }], /must be an https origin/],
    ['another scheme', [{ origin: 'ftp://a.internal' }], /must be an https origin/],
    [
      'a path',
      [{ origin: 'https://a.internal/v1' }],
      /must end after the port: https:\/\/a\.internal\./,
    ],
    ['a query', [{ origin: 'https://a.internal?' }], /must end after the port/],
    ['a fragment', [{ origin: 'https://a.internal/#' }], /must end after the port/],
    ['a password', [{ origin: 'https://u:hunter2@a.internal' }], /user name or a password/],
    ['a wildcard', [{ origin: 'https://*.internal' }], /no wildcards/],
    ['plain http', [{ origin: 'http://billing' }], /use https, or set allowInsecureHttp/],
    ['http to what looks local', [{ origin: 'http://localhost.evil.example' }], /use https/],
    [
      'a flag that is text',
      [{ origin: 'https://a.internal', acceptsCustomers: 'no' }],
      /acceptsCustomers" must be true or false/,
    ],
    [
      'a flag that is a number',
      [{ origin: 'http://billing', allowInsecureHttp: 1 }],
      /allowInsecureHttp" must be true or false/,
    ],
    [
      'the same twice',
      [{ origin: 'https://a.internal' }, { origin: 'https://A.internal:443/' }],
      /origins\[1\]" repeats https:\/\/a\.internal/,
    ],
  ])('refuses %s', (_name, entries, message) => {
    let refusal: unknown;
    try {
      read(...entries);
    } catch (error) {
      refusal = error;
    }
    expect(refusal).toMatchObject({
      code: 'CLIENT_MISCONFIGURED',
      kind: 'misconfigured',
      message: expect.stringMatching(message),
    });
    expect(String(refusal)).not.toContain('hunter2');
  });

  test.each([undefined, null, {}, 'https://a.internal'])('refuses %j for a list', (list) => {
    expect(() => readAllowedOrigins(list as never)).toThrow('"origins" must list');
  });
});

describe('the origin of a URL', () => {
  test.each([
    ['https://a.internal/path?q=1#f', 'https://a.internal'],
    ['https://A.internal:443', 'https://a.internal'],
    ['https://user:word@a.internal', 'https://a.internal'],
    ['https://a.internal@evil.example/', 'https://evil.example'],
    ['https://a.internal\\@evil.example/', 'https://a.internal'],
    ['https:\\\\evil.example\\a.internal', 'https://evil.example'],
    ['http:evil.example', 'http://evil.example'],
    [' https://a.internal', 'https://a.internal'],
    ['https://a.internal.', 'https://a.internal.'],
    ['//a.internal/', undefined],
    ['/path', undefined],
    ['', undefined],
    ['data:text/plain,x', undefined],
    ['file:///etc/passwd', undefined],
    ['blob:https://a.internal/1', undefined],
    ['ws://a.internal', undefined],
  ])('%s', (url, origin) => {
    expect(originOf(url)).toBe(origin);
  });
});
