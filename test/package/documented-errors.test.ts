import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = (file: string): string => readFileSync(join(root, file), 'utf8');

const SOURCES: ReadonlyMap<string, string> = new Map(
  readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .map((name) => [name, read(join('src', name))]),
);
const ALL = [...SOURCES.values()].join('\n');

const SETTINGS = new Set(
  [...read('docs/configuration.md').matchAll(/^\| `([A-Z0-9_]+)` /gm)].map(([, name = '']) => name),
);

/** Codes of one word. */
const SINGLE_WORDS = ['USAGE', 'UNEXPECTED', 'CLEARED'];

/** Words of protocols and of other programs. */
const NO_CODES = new Set([
  'AES_256',
  'ECDSA_SHA_256',
  'RSASSA_PKCS1_V1_5_SHA_256',
  'RSASSA_PSS_SHA_256',
  // Of AWS's names of endpoints.
  'SECRETS_MANAGER',
  // Of Node.js.
  'HPE_ERROR',
  'MODULE_NOT_FOUND',
  'NODE_EXTRA_CA_CERTS',
  'NODE_USE_ENV_PROXY',
  // Of GraphQL: what a status is called there.
  'BAD_REQUEST',
  'SERVICE_UNAVAILABLE',
]);

const isCode = (word: string): boolean =>
  !SETTINGS.has(word) && !NO_CODES.has(word) && !/^(?:AWS|ERR)_|^(?:HTTPS?|NO)_PROXY$/.test(word);

/** The texts in quotes among the alternatives of a type. */
function alternativesOf(file: string, type: string): readonly string[] {
  const [, body = ''] = new RegExp(`type ${type} =([^;]+);`).exec(SOURCES.get(file) ?? '') ?? [];
  const found = [...body.matchAll(/'([^']+)'/g)].map(([, word = '']) => word);
  expect({ type, found }).not.toEqual({ type, found: [] });
  return found;
}

/** Who has to act, by code, as far as it stands beside the code. */
function kindsInSource(): ReadonlyMap<string, ReadonlySet<string>> {
  const kinds = new Map<string, Set<string>>();
  const add = (code: string, kind: string): void => {
    kinds.set(code, (kinds.get(code) ?? new Set()).add(kind));
  };
  const tables = ALL.matchAll(
    /^const KINDS = \{$([\s\S]*?)^\} as const(?: satisfies Record<string, ErrorKind>)?;$/gm,
  );
  for (const [, table = ''] of tables) {
    for (const [, code = '', kind = ''] of table.matchAll(/^ {2}([A-Z0-9_]+): '(\w+)',$/gm)) {
      add(code, kind);
    }
  }
  const thrown = ALL.matchAll(
    /(?:\bsuper|new \w+Error)\(\s*'([A-Z0-9_]+)',\s*'(retry|misconfigured|rejected|bug)',/g,
  );
  for (const [, code = '', kind = ''] of thrown) add(code, kind);
  return kinds;
}

const KINDS = kindsInSource();

/** Every stable upper-case code of the source. */
const CODES: ReadonlySet<string> = new Set(
  [
    ...KINDS.keys(),
    ...[...ALL.matchAll(/'([A-Z][A-Z0-9]+(?:_[A-Z0-9]+)+)'/g)].map(([, word = '']) => word),
    // In brackets behind the last message of the command.
    ...[...ALL.matchAll(/\\n\(([A-Z][A-Z0-9_]+)\)\\n/g)].map(([, word = '']) => word),
    ...SINGLE_WORDS.filter((word) => ALL.includes(`'${word}'`)),
    // The audit has these in capitals, of a peer that was denied what it asked for.
    ...alternativesOf('peers/policy.ts', 'Access')
      .filter((word) => word !== 'granted')
      .map((word) => word.toUpperCase()),
  ].filter(isCode),
);

/** Errors of OAuth, which the audit has in capitals: those of requests that were understood and refused. */
const OAUTH_ERRORS = new Set(
  [...(SOURCES.get('serving/answers.ts') ?? '').matchAll(/^ {4}'([a-z_]+)',$/gm)].map(
    ([, error = '']) => error.toUpperCase(),
  ),
);

/** Why a peer could not log in: the words of the types, and those that the metric has besides. */
const LOGIN_REASONS: ReadonlySet<string> = new Set([
  ...alternativesOf('serving/endpoint.ts', 'LoginFailure'),
  ...alternativesOf('peers/workload-tokens.ts', 'WorkloadRefusal'),
  ...alternativesOf('verification/verification-errors.ts', 'TokenRejectionCode').map((code) =>
    code.toLowerCase(),
  ),
  ...alternativesOf('peers/certificate-names.ts', 'CertificateRefusal'),
  ...[...ALL.matchAll(/recordPeerLoginFailure\('(\w+)'\)/g)].map(([, reason = '']) => reason),
]);

interface Row {
  /** The heading above. */
  readonly group: string;
  readonly codes: readonly string[];
  /** The cells behind the codes, by the names in the table's head. */
  readonly cells: ReadonlyMap<string, string>;
}

const ROWS: readonly Row[] = read('docs/errors.md')
  .split(/^## /m)
  .slice(1)
  .flatMap((section) => {
    const lines = section.split('\n');
    let names: readonly string[] = [];
    return lines.flatMap((line): Row[] => {
      if (!line.startsWith('|') || line.startsWith('| -')) return [];
      const cells = line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim());
      const codes = [...(cells[0] ?? '').matchAll(/`(\w+)`/g)].map(([, code = '']) => code);
      if (codes.length === 0) {
        names = cells;
        return [];
      }
      const named = new Map(names.map((name, index) => [name, cells[index] ?? '']));
      return [{ group: lines[0] ?? '', codes, cells: named }];
    });
  });
const DOCUMENTED = ROWS.flatMap(({ codes }) => codes);

describe('docs/errors.md', () => {
  test('has every code of the source', () => {
    expect(CODES.size).toBeGreaterThan(180);
    expect([...CODES].filter((code) => !DOCUMENTED.includes(code)).toSorted()).toEqual([]);
  });

  test('has no code that the source does not have', () => {
    const unknown = DOCUMENTED.filter(
      (code) => !CODES.has(code) && !OAUTH_ERRORS.has(code) && !LOGIN_REASONS.has(code),
    );
    expect(unknown).toEqual([]);
  });

  test('has every reason of a failed login, in words', () => {
    expect(LOGIN_REASONS.size).toBeGreaterThan(30);
    expect([...LOGIN_REASONS].filter((reason) => !DOCUMENTED.includes(reason))).toEqual([]);
  });

  test('has a code once in a group, and says what it means and what to do', () => {
    const places = ROWS.flatMap(({ group, codes }) => codes.map((code) => `${group}: ${code}`));
    expect(places.filter((place, index) => places.indexOf(place) !== index)).toEqual([]);
    const bare = ROWS.filter(({ cells }) => !cells.get('means') || !cells.get('do'));
    expect(bare).toEqual([]);
  });

  test('says who has to act as the source does', () => {
    expect(KINDS.size).toBeGreaterThan(120);
    const wrong = ROWS.flatMap(({ codes: [code = ''], cells }) => {
      const written = cells.get('kind')?.match(/\w+(?=`)/g);
      const missing = [...(KINDS.get(code) ?? [])].filter((kind) => !written?.includes(kind));
      return written === undefined || written === null || missing.length === 0
        ? []
        : [{ code, written, missing }];
    });
    expect(wrong).toEqual([]);
  });

  test('the list of words that are no codes has nothing that is gone', () => {
    expect([...NO_CODES].filter((word) => !ALL.includes(`'${word}'`))).toEqual([]);
  });
});
