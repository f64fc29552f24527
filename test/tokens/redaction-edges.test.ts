import { describe, expect, test } from '@jest/globals';
import { isRedactedKey, looksSecret, redactText } from '../../src/tokens/redaction.js';

const RANDOM = 'Zk3vX0mQ8sT1yB6nC4wH7jR2pL5dF9gA';
const part = (letter: string, length: number): string => letter.repeat(length);

describe('one part of a JWT is hidden', () => {
  const space = ['', ' ', '  ', ' \t', ' \n', ' \r\n', '\n', '\n ', '\n\t', '\n\n', '\n\r\n'];
  const more = ['\t', '\t ', '\t\t', '\t\n', '\t\r\n', '\r\n', '\r\n ', '\r\n\t', '\r ', '\r\t'];
  test.each([...space, ...more])('that begins with { and %j', (before) => {
    const header = Buffer.from(`{${before}"a":1234}`).toString('base64url');
    expect(header.length).toBeLessThan(32);
    expect(redactText(`part ${header}, then`)).toBe('part [redacted], then');
  });
});

describe('a token whose parts are plain letters', () => {
  const hidden = [
    [16, 16, 32],
    [40, 20, 43],
    [16, 0, 16, 16],
    [16, 5, 16, 16],
    [16, 0, 16, 16, 5],
    [16, 16, 32, 3, 4],
  ];
  test.each(hidden.map((lengths) => [lengths]))('of the lengths %j is hidden whole', (lengths) => {
    const token = lengths.map((length, at) => part('abcde'.charAt(at), length)).join('.');
    expect(redactText(`got ${token} from it`)).toBe('got [redacted] from it');
    expect(looksSecret(token)).toBe(true);
  });

  const shown = [
    [15, 16, 32],
    [16, 15, 32],
    [16, 16, 31],
    [15, 0, 16, 16],
    [16, 0, 15, 16],
    [16, 0, 16, 15],
    [16, 16],
  ];
  test.each(shown.map((lengths) => [lengths]))(
    'of the lengths %j may be a host name, and is shown',
    (lengths) => {
      const name = lengths.map((length, at) => part('abcde'.charAt(at), length)).join('.');
      expect(redactText(`got ${name} from it`)).toBe(`got ${name} from it`);
    },
  );
});

describe('what is hidden', () => {
  test.each([
    ['credentials behind several spaces', 'Bearer  \t abc.DEF-1', 'Bearer  \t [redacted]'],
    ['credentials behind a plus sign', 'bearer+abc.DEF-1', 'bearer+[redacted]'],
    ['a list under a name in capitals', 'CLIENT_SECRETS=["a b","c"]', 'CLIENT_SECRETS=[redacted]'],
    [
      'every list of several',
      '{"client_secrets":["a b"],"token":["c"],"api_key":["d e"]}',
      '{"client_secrets":[redacted],"token":[redacted],"api_key":[redacted]}',
    ],
    ['a word as the value of a long name', 'access_token: expired', 'access_token: [redacted]'],
    ['a word as the value of another name', 'secret_string: expired', 'secret_string: [redacted]'],
    ['a private member with an equals sign', `d=${part('a', 16)}`, 'd=[redacted]'],
    ['a private member amid spaces', `d  :  ${part('a', 16)}`, 'd  :  [redacted]'],
    ['a private member in quotes', `"dq" : '${part('a', 16)}'`, `"dq" : '[redacted]'`],
    ['a private member in JSON in JSON', `\\"k\\":\\"${part('a', 16)}`, '\\"k\\":\\"[redacted]'],
    ['a key of 32 bytes, padded', `it is ${part('a', 43)}=.`, 'it is [redacted].'],
    ['a key of 31 bytes, padded', `it is ${part('a', 42)}==.`, 'it is [redacted].'],
    ['a random text, a name of another before', `kid of ${RANDOM}`, 'kid of [redacted]'],
    ['a random text with a slash', `${RANDOM.slice(1)}/`, '[redacted]'],
    ['a random text with a slash in each half', `/${RANDOM.slice(2)}/`, '[redacted]'],
  ])('%s', (_what, text, expected) => {
    expect(redactText(text)).toBe(expected);
    expect(looksSecret(text)).toBe(true);
  });
});

describe('what is shown', () => {
  test.each([
    `d=${part('a', 15)}`,
    `add=${part('a', 16)}`,
    `it is ${part('a', 41)}==.`,
    'A1B2C3D4E5F6A7B8C9D0A1B2C3D4E5F6',
    'a1b2c3d4e5f6a7b8c9d0a1b2c3d4e5f6',
    'AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEf',
    RANDOM.slice(1),
    `/srv/App1/releases/Build7/current/main`,
    `a/${RANDOM.slice(4)}//`,
    ...[
      'kid ',
      'kid: ',
      'kid  :  ',
      'kid=',
      '"kid":"',
      String.raw`\"kid\":\"`,
      String.raw`\\"kid\\": \\"`,
      "kid '",
      'KID: ',
      'jkt=',
      'x5t: ',
      'x5t#S256: ',
      'thumbprint ',
      'sha-256 digest ',
      'ETag: "',
      'version id ',
      'versionId=',
      'request id: ',
      'RequestId: ',
      'arn:aws:secretsmanager:eu-central-1:123456789012:secret:',
    ].map((before) => before + RANDOM),
  ])('%s', (text) => {
    expect(redactText(text)).toBe(text);
    expect(looksSecret(text)).toBe(false);
  });
});

describe('the private members of a JWK', () => {
  test.each(['d', 'p', 'q', 'dp', 'dq', 'qi', 'k', 'oth'])('%s', (name) => {
    expect(isRedactedKey(name, part('a', 16))).toBe(true);
    expect(isRedactedKey(name, {})).toBe(true);
    expect(isRedactedKey(name, part('a', 15))).toBe(false);
    expect(isRedactedKey(name, undefined)).toBe(false);
    expect(isRedactedKey(name, 1e16)).toBe(false);
    expect(isRedactedKey(`x${name}`, part('a', 16))).toBe(false);
  });
});
