import { describe, expect, test } from '@jest/globals';
import { FILE_PARSERS } from './file-parsers.js';
import { execute, fuzz, tallyOf } from './fuzzing.js';
import { growthsOf, requireLinear } from './growth.js';
import { REQUEST_PARSERS } from './request-parsers.js';
import { TOKEN_PARSERS } from './token-parsers.js';

const PARSERS = [...TOKEN_PARSERS, ...REQUEST_PARSERS, ...FILE_PARSERS];
const SEED = 20_261_129;

/** `npm run fuzz` is the long form. */
describe('inputs that were changed', () => {
  test.each(PARSERS.map((parser) => [parser.name, parser] as const))('%s', async (_, parser) => {
    const tally = tallyOf(parser);
    await fuzz(tally, parser.isSlow === true ? 20 : 100, SEED);
    expect(tally.executions).toBe(parser.isSlow === true ? 20 : 100);
  });
});

/** A few of the pieces that are repeated; the long form takes all of them in turn. */
test('the time of a parser grows no faster than its input', async () => {
  let measured = 0;
  for (const parser of PARSERS) {
    for (const growth of growthsOf(parser).filter((_, at) => at % 97 === 0)) {
      await requireLinear(parser, growth, 8_192);
      measured += 1;
    }
  }
  expect(measured).toBeGreaterThan(PARSERS.length);
});

describe('inputs of which a fault was found', () => {
  const levels = (open: string, close: string): string =>
    open.repeat(50_000) + close.repeat(50_000);

  test.each([
    ['peers secret', `{"peers":{"a":${levels('[', ']')}},"note":1}`],
    ['lines of the audit', `{"seq":1,"prev":"${'0'.repeat(64)}","reason":${levels('[', ']')}}`],
    [
      'event of the HTTP function (Lambda)',
      '{"version":"2.0","rawPath":"/oauth2/token","headers":{"content-type":null},"requestContext":{"http":{"method":"POST"}}}',
    ],
    [
      'event of the HTTP function (Lambda)',
      '{"version":"2.0","rawPath":"/v1/token","body":5,"requestContext":{"http":{"method":"GET"}}}',
    ],
    // Faults that others had: what a regular expression, a merge key or an alias can be made to do.
    ['configuration file (YAML)', levels('[', ']').slice(0, 4_000)],
    ['configuration file (YAML)', 'a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n'],
    ['configuration file (YAML)', '<<: { port: 1 }\n__proto__: { polluted: 1 }\n'],
    ["names of a certificate, in Node's words", 'DNS:"a\\", DNS:b"'],
    ['JWKS', `{"keys":[${levels('{"n":', '}').slice(0, 60_000)}`],
    ['strict JSON', `{"a":1,"\\u0061":2}`],
  ])('%s: %.60s', async (name, input) => {
    const parser = PARSERS.find((one) => one.name === name);
    expect(parser).toBeDefined();
    if (parser !== undefined) await execute(tallyOf(parser), Buffer.from(input));
  });
});
