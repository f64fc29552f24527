import { describe, expect, test } from '@jest/globals';
import { decideChange, type ConfigChange } from '../../src/config/config-change.js';
import { loadWithFile } from '../../src/config/load-config.js';
import { fc } from '../support/properties.js';

const PATH = 'broker.yaml';
const ISSUERS = `
trusted_issuers:
  cluster: { kind: kubernetes, issuer: 'https://cluster.example.com', jwks_uri: 'https://cluster.example.com/jwks' }
`;
const peer = (id: string, tokens = 'default'): string =>
  `  ${id}: { identities: [{ issuer: cluster, subject: 'system:serviceaccount:shop:${id}' }], tokens: [${tokens}] }\n`;
const FLAT = `public_url: https://broker.example.com\nissuer: https://provider.example.com/\n`;
const START = `${FLAT}${ISSUERS}peers:\n${peer('orders')}`;

function change(after: string, before = START, env: NodeJS.ProcessEnv = {}): ConfigChange {
  const all = { BROKER_CONFIG: PATH, ...env };
  const { file } = loadWithFile({ env: all, readFile: () => before });
  if (file === undefined) throw new Error('there is a file');
  return decideChange({ env: all, path: PATH, before: file.keys, text: after });
}

/** The ids of the peers, and what waits for the next start. */
function outcome(result: ConfigChange): object {
  if (!result.ok) return { mistakes: result.mistakes };
  const { identities, atNextStart } = result;
  return { peers: identities.peers.map(({ id }) => id), atNextStart };
}

describe('what takes effect at once', () => {
  test.each([
    ['nothing', START, ['orders']],
    ['a comment', `# of today\n${START}`, ['orders']],
    ['another peer', START + peer('settle'), ['orders', 'settle']],
    ['no peers', `${FLAT}${ISSUERS}`, []],
    ['nothing but settings', FLAT, []],
    ['other peers alone', `${FLAT}${ISSUERS}peers:\n${peer('settle')}`, ['settle']],
  ])('%s', (_what, after, peers) => {
    expect(outcome(change(after))).toEqual({ peers, atNextStart: [] });
  });

  test('issuers and grants as the file has them now', () => {
    const after = START.replace('tokens: [default]', 'tokens: [default], enabled: false').replace(
      'https://cluster.example.com/jwks',
      'https://cluster.example.com/other',
    );
    expect(change(after)).toMatchObject({
      ok: true,
      identities: {
        issuers: [{ jwksUri: 'https://cluster.example.com/other' }],
        peers: [{ id: 'orders', enabled: false, tokens: ['default'] }],
      },
    });
  });
});

describe('what takes effect at the next start is named, and no value is shown', () => {
  const tokens = `
providers:
  auth0: { issuer: 'https://a.example.com/', credentials_secret: c/a }
tokens:
  default: { provider: auth0, audience: 'https://one.example.com', secret: t/one }
  ledger: { provider: auth0, audience: 'https://two.example.com', secret: t/two }
`;
  test.each([
    ['a setting', START, `${START}log_level: debug\n`, ['log_level']],
    ['one that is gone', `log_level: debug\n${START}`, START, ['log_level']],
    ['white space', START, START.replace('https://provider', '  https://provider'), []],
    ['a default that is written down', START, `${START}log_level: info\n`, []],
    ['a token', tokens, tokens.replace('two.example', 'three.example'), ['tokens.ledger']],
    ['a token that is gone', tokens, tokens.replace(/ {2}ledger.*\n/, ''), ['tokens.ledger']],
    ['a provider', tokens, tokens.replace('c/a', 'c/b'), ['providers.auth0']],
    [
      'all at once',
      `public_url: https://broker.example.com\n${tokens}`,
      `${START}port: 4000\n`,
      ['issuer', 'port', 'providers.auth0', 'tokens.default', 'tokens.ledger'],
    ],
  ])('%s', (_what, before, after, atNextStart) => {
    expect(outcome(change(after, before))).toMatchObject({ atNextStart });
  });

  test('what the environment sets has no effect in the file, then or now', () => {
    const after = `${START}log_level: debug\nport: 4000\n`;
    expect(outcome(change(after, START, { BROKER_LOG_LEVEL: 'warn' }))).toMatchObject({
      atNextStart: ['port'],
    });
  });

  test('workload tokens stay those for the URL that the broker was started with', () => {
    const after = START.replace('broker.example.com', 'other.example.com') + peer('settle');
    expect(change(after)).toMatchObject({
      ok: true,
      identities: { issuers: [{ audience: 'https://broker.example.com' }] },
      atNextStart: ['public_url'],
    });
  });

  test('a token of the next start may be granted now: nobody has it before', () => {
    const before = `public_url: https://broker.example.com\n${tokens}`;
    const after = `${before.replace('  ledger:', '  new:')}${ISSUERS}peers:\n${peer('a', 'new')}`;
    expect(outcome(change(after, before))).toEqual({
      peers: ['a'],
      atNextStart: ['tokens.ledger', 'tokens.new'],
    });
  });
});

describe('a file with mistakes changes nothing, and names each with its place', () => {
  test.each([
    ['cut off in a word', START.slice(0, -12), /in broker\.yaml|line \d+/],
    [
      'cut off in a quote',
      START.slice(0, START.indexOf('shop:orders')),
      /YAML: [A-Z_]+ in line \d/,
    ],
    ['not YAML', `${START}\t- [`, /YAML: [A-Z_]+ in line \d/],
    ['a peer twice', START + peer('orders'), /DUPLICATE_KEY in line 8/],
    ['binary', '\u0000\u0001\u0002', /BROKER_CONFIG/],
    ['a wrong setting', `${START}log_level: loud\n`, /log_level in broker\.yaml/],
    ['an unknown key', `${START}peer: {}\n`, /has the key \\"peer\\", which is unknown/],
    [
      'an issuer that is gone',
      START.replace('cluster: {', 'other: {'),
      /peers\.orders\.identities\.0\.issuer in broker\.yaml/,
    ],
    ['an unknown token', START.replace('[default]', '[ledger]'), /peers\.orders\.tokens\.0/],
    [
      'two peers for one proof',
      START + peer('settle').replace('shop:settle', 'shop:orders'),
      /one proof has to mean one peer/,
    ],
  ])('%s', (_what, after, expected) => {
    const result = change(after);
    expect(result).toMatchObject({ ok: false });
    expect(JSON.stringify(result)).toMatch(expected);
  });

  test('a change of the public URL that would leave issuers without an audience', () => {
    const before = `issuer: https://provider.example.com/\n`;
    expect(outcome(change(START, before))).toMatchObject({
      mistakes: [
        expect.stringMatching(
          /^public_url in broker\.yaml takes effect at the next start\. Until then: trusted_issuers\.cluster\.audience/,
        ),
        expect.stringContaining('peers.orders.identities.0.issuer'),
      ],
    });
  });

  test('no value is in a mistake', () => {
    expect(JSON.stringify(change(`${START}master_key: top-secret-value\n`))).not.toContain(
      'top-secret-value',
    );
  });

  test('wherever it is cut off, it is right as it stands, or changes nothing', () => {
    const whole = START + peer('settle') + peer('stock');
    fc.assert(
      fc.property(fc.nat(whole.length), (length) => {
        const result = change(whole.slice(0, length));
        if (!result.ok) return result.mistakes.length > 0;
        // Never a peer, a subject or a token that the whole file does not have.
        const known = change(whole);
        if (!known.ok) return false;
        return result.identities.peers.every((one) =>
          known.identities.peers.some((other) => JSON.stringify(other) === JSON.stringify(one)),
        );
      }),
    );
  });
});

test('10,000 peers are judged, and the one that is there twice is found', () => {
  const many = Array.from({ length: 10_000 }, (_, index) => peer(`p${index}`)).join('');
  expect(change(`${FLAT}${ISSUERS}peers:\n${many}${peer('p5000')}`)).toMatchObject({
    mistakes: [expect.stringMatching(/DUPLICATE_KEY in line 10007/)],
  });
});
