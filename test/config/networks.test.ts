import { inspect } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { decideChange } from '../../src/config/config-change.js';
import { ConfigError } from '../../src/config/config-error.js';
import { loadConfig } from '../../src/config/load-config.js';

const load = (env: NodeJS.ProcessEnv) => loadConfig({ env });

function mistakesOf(env: NodeJS.ProcessEnv): ConfigError['mistakes'] {
  try {
    load(env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    expect(inspect(error, { depth: 9 }) + error.lines.join()).not.toContain('canary');
    return error.mistakes;
  }
  return [];
}

describe('a proxy', () => {
  test.each<[string, string, string | undefined]>([
    ['http://proxy.test:3128', 'http://proxy.test:3128', undefined],
    ['proxy.test:3128', 'http://proxy.test:3128', undefined],
    ['10.0.0.1:3128', 'http://10.0.0.1:3128', undefined],
    ['http://[fd00::1]:3128/', 'http://[fd00::1]:3128', undefined],
    ['https://PROXY.test', 'https://proxy.test', undefined],
    ['http://me:canary@proxy.test:1', 'http://proxy.test:1', 'me:canary'],
    ['me:canary@proxy.test:1', 'http://proxy.test:1', 'me:canary'],
    ['http://me@proxy.test:1', 'http://proxy.test:1', 'me:'],
    ['http://d%5Cme:c%40n%2Fary@proxy.test:1', 'http://proxy.test:1', 'd\\me:c@n/ary'],
  ])('%s', (text, url, login) => {
    const { httpsProxy } = load({ HTTPS_PROXY: text }).network;
    expect(httpsProxy?.url).toBe(url);
    const revealed = httpsProxy?.login?.reveal();
    expect(revealed && Buffer.from(revealed).toString()).toBe(login);
    expect(JSON.stringify(httpsProxy) + inspect(httpsProxy, { depth: 9 })).not.toMatch(
      /canary|n.ary/,
    );
  });

  test.each<[string, RegExp]>([
    ['socks5://me:canary@proxy.test:1080', /SOCKS proxy, which is not supported/],
    ['ftp://proxy.test', /neither an http nor an https URL/],
    ['http://', /not the URL of a proxy/],
    ['http://me:can/ary@proxy.test', /not the URL of a proxy|more than a host and a port/],
    ['http://proxy.test/canary', /more than a host and a port/],
    ['http://me:canary%zz@proxy.test:1', /has a "%" that is not followed by two digits: write %25/],
  ])('%s is refused, and not quoted', (text, problem) => {
    expect(mistakesOf({ HTTPS_PROXY: text })).toMatchObject([
      { name: 'HTTPS_PROXY', given: '(hidden)', problem: expect.stringMatching(problem) },
    ]);
  });

  test('its variables are known in lower case, which wins; the file comes last', () => {
    const env = { HTTPS_PROXY: 'upper.test:1', https_proxy: 'lower.test:1', no_proxy: 'a.test' };
    expect(load(env).network).toMatchObject({
      httpsProxy: { url: 'http://lower.test:1' },
      httpProxy: undefined,
      noProxy: 'a.test',
    });
    expect(load({ HTTPS_PROXY: 'upper.test:1', https_proxy: '' }).network.httpsProxy?.url).toBe(
      'http://upper.test:1',
    );
    const readFile = (): string =>
      'https_proxy: file.test:1\nno_proxy: [b.test, c.test]\nca_file: /x';
    const BROKER_CONFIG = 'broker.yml';
    expect(loadConfig({ env: { BROKER_CONFIG }, readFile }).network).toEqual({
      httpsProxy: { url: 'http://file.test:1', login: undefined },
      httpProxy: undefined,
      noProxy: 'b.test,c.test',
      caFile: '/x',
    });
    expect(loadConfig({ env: { BROKER_CONFIG, ...env }, readFile }).network.httpsProxy?.url).toBe(
      'http://lower.test:1',
    );
  });

  test('a change of the file takes effect at the next start, unless a variable wins', () => {
    const change = (env: NodeJS.ProcessEnv) =>
      decideChange({ env, path: 'b.yml', before: new Map(), text: 'https_proxy: file.test:1' });
    expect(change({})).toMatchObject({ ok: true, atNextStart: ['https_proxy'] });
    expect(change({ https_proxy: 'lower.test:1' })).toMatchObject({ ok: true, atNextStart: [] });
  });
});

describe('a role to assume', () => {
  const aws = { BROKER_SECRET_STORE: 'aws' };
  const BROKER_AWS_ROLE_ARN = 'arn:aws:iam::123456789012:role/broker';

  test.each([
    BROKER_AWS_ROLE_ARN,
    'arn:aws-cn:iam::123456789012:role/a/b/broker@x=y,z',
    'arn:aws-us-gov:iam::123456789012:role/broker',
  ])('%s', (arn) => {
    expect(load({ ...aws, BROKER_AWS_ROLE_ARN: arn }).secrets.awsRole).toEqual({
      arn,
      externalId: undefined,
      sessionName: 'service-token-broker',
    });
  });

  test.each<[string, RegExp]>([
    ['arn:aws:sts::123456789012:assumed-role/broker/session', /ARN of a session/],
    ['arn:aws:iam::123456789012:user/broker', /not the ARN of an IAM role/],
    ['arn:aws:iam::12345:role/broker', /not the ARN of an IAM role/],
    ['arn:aws:iam::123456789012:role/', /not the ARN of an IAM role/],
    ['arn:aws:iam::123456789012:role/*', /not the ARN of an IAM role/],
    [`arn:aws:iam::123456789012:role/${'x'.repeat(65)}`, /not the ARN of an IAM role/],
    ['broker', /not the ARN of an IAM role/],
  ])('%s is refused', (arn, problem) => {
    expect(mistakesOf({ ...aws, BROKER_AWS_ROLE_ARN: arn })).toMatchObject([
      { name: 'BROKER_AWS_ROLE_ARN', problem: expect.stringMatching(problem) },
    ]);
  });

  test.each<[NodeJS.ProcessEnv, string, RegExp | undefined]>([
    [{ BROKER_AWS_ROLE_ARN }, 'BROKER_AWS_ROLE_ARN', /BROKER_SECRET_STORE is embedded/],
    [
      { ...aws, BROKER_AWS_EXTERNAL_ID: 'x1' },
      'BROKER_AWS_EXTERNAL_ID',
      /with BROKER_AWS_ROLE_ARN alone/,
    ],
    [
      { ...aws, BROKER_AWS_ROLE_SESSION_NAME: 'x1' },
      'BROKER_AWS_ROLE_SESSION_NAME',
      /with BROKER_AWS_ROLE_ARN alone/,
    ],
    [
      { ...aws, BROKER_AWS_ROLE_ARN, BROKER_AWS_EXTERNAL_ID: 'x' },
      'BROKER_AWS_EXTERNAL_ID',
      undefined,
    ],
    [
      { ...aws, BROKER_AWS_ROLE_ARN, BROKER_AWS_ROLE_SESSION_NAME: 'a b' },
      'BROKER_AWS_ROLE_SESSION_NAME',
      undefined,
    ],
  ])('%j is refused', (env, name, problem) => {
    const mistakes = mistakesOf(env);
    expect(mistakes.map((mistake) => mistake.name)).toEqual([name]);
    if (problem !== undefined) expect(mistakes[0]?.problem).toMatch(problem);
  });
});
