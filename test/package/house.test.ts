import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { basename, dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';

const root = fileURLToPath(new URL('../../', import.meta.url));
const src = join(root, 'src');

/** Which rooms a room may import, besides itself. The doors are `cli`, `dev`, `lambda`, and the files of src itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  tokens: [],
  verification: ['tokens'],
  provider: ['tokens', 'verification'],
  secrets: ['tokens'],
  rotation: ['tokens', 'verification', 'provider', 'secrets'],
  peers: ['tokens', 'verification', 'secrets'],
  serving: ['tokens', 'verification', 'secrets', 'peers'],
  operations: ['tokens', 'verification', 'provider', 'secrets', 'rotation', 'peers', 'serving'],
  context: ['tokens', 'verification'],
  guard: ['tokens', 'verification', 'context'],
  client: ['tokens', 'verification', 'context'],
  testing: ['tokens', 'verification', 'secrets'],
  config: ['tokens', 'verification', 'secrets', 'peers'],
  composition: [
    'tokens',
    'verification',
    'provider',
    'secrets',
    'rotation',
    'peers',
    'serving',
    'operations',
    'config',
  ],
};

/** Packages that a room may load: everything else is refused, so that a new dependency is a decision. */
const MAY_LOAD: Readonly<Record<string, readonly string[]>> = {
  // For its types alone: nothing of it is loaded.
  tokens: ['@opentelemetry/api'],
  config: ['zod', 'yaml', 'croner'],
  verification: ['jose'],
  provider: ['oauth4webapi', 'jose'],
  secrets: [
    'libsql',
    '@aws-sdk/client-kms',
    '@aws-sdk/client-secrets-manager',
    '@aws-sdk/client-sts',
    '@smithy/types',
  ],
  rotation: ['jose', 'croner', '@nestjs/common', '@nestjs/schedule'],
  peers: [],
  serving: ['@nestjs/common', '@nestjs/core', 'zod'],
  context: [],
  // Of Fastify the types alone.
  guard: ['@nestjs/common', '@nestjs/core', 'fastify', 'rxjs'],
  client: ['axios', '@nestjs/common', '@nestjs/core', '@nestjs/axios', 'rxjs'],
  testing: ['jose'],
  composition: ['@nestjs/common', '@nestjs/core', '@nestjs/platform-fastify'],
  cli: ['commander'],
  lambda: [],
  operations: [
    '@nestjs/common',
    '@nestjs/core',
    '@nestjs/terminus',
    'marked',
    'pino',
    'prom-client',
    'zod',
  ],
};

interface Import {
  readonly from: string;
  readonly specifier: string;
}

const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.ts'),
);
const imports: readonly Import[] = files.flatMap((from) => {
  const text = readFileSync(join(src, from), 'utf8');
  const found = text.matchAll(
    /^\s*(?:import|export)\b[^'";]*?\bfrom\s+'([^']+)'|^import\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/gm,
  );
  return [...found].map((match) => ({ from, specifier: match[1] ?? match[2] ?? match[3] ?? '' }));
});

const roomOf = (file: string): string =>
  file.includes('/') ? (file.split('/')[0] ?? '') : 'doors';
const targetOf = ({ from, specifier }: Import): string =>
  normalize(join(dirname(from), specifier)).replace(/\.js$/, '.ts');
const isOurs = ({ specifier }: Import): boolean => specifier.startsWith('.');
const packageOf = (specifier: string): string =>
  specifier.split('/', specifier.startsWith('@') ? 2 : 1).join('/');

describe('the rules of the house', () => {
  test('every import of ours leads to a file', () => {
    const known = new Set(files);
    expect(
      imports
        .filter(isOurs)
        .map(targetOf)
        .filter((file) => !known.has(file)),
    ).toEqual([]);
    expect(imports.length).toBeGreaterThan(50);
  });

  test.each(Object.entries(MAY_IMPORT))('%s imports only %j', (room, allowed) => {
    const wrong = imports
      .filter((one) => roomOf(one.from) === room && isOurs(one))
      .filter((one) => ![room, ...allowed].includes(roomOf(targetOf(one))));
    expect(wrong).toEqual([]);
  });

  test.each(Object.entries(MAY_LOAD))('%s loads only the packages %j', (room, allowed) => {
    const wrong = imports
      .filter((one) => roomOf(one.from) === room && !isOurs(one))
      .filter(({ specifier }) => !specifier.startsWith('node:'))
      .filter(({ specifier }) => !allowed.includes(packageOf(specifier)));
    expect(wrong).toEqual([]);
  });

  test('every room is known to this test', () => {
    const rooms = new Set(files.map(roomOf));
    expect([...rooms].filter((room) => !(room in MAY_IMPORT)).toSorted()).toEqual([
      'cli',
      'dev',
      'doors',
      'lambda',
    ]);
  });

  test('the client loads no Nest but for its module', () => {
    const wrong = imports
      .filter(({ from }) => roomOf(from) === 'client' && !from.startsWith('client/nest/'))
      .filter(
        (one) => one.specifier.startsWith('@nestjs/') || targetOf(one).startsWith('client/nest/'),
      );
    expect(wrong).toEqual([]);
  });

  test.each(['express', 'fastify'])(
    'the guard of %s loads jose alone, and needs no types of Nest',
    (name) => {
      const reached = new Set([`guard/${name}/index.ts`]);
      for (const file of reached) {
        for (const one of imports.filter(({ from }) => from === file && from !== undefined)) {
          if (isOurs(one)) reached.add(targetOf(one));
        }
      }
      expect(reached.size).toBeGreaterThan(20);
      const packages = imports
        .filter((one) => reached.has(one.from) && !isOurs(one))
        .filter(({ specifier }) => !specifier.startsWith('node:'))
        .map(({ specifier }) => specifier);
      // But for jose, their types alone.
      expect([...new Set(packages)].toSorted()).toEqual([
        '@opentelemetry/api',
        ...(name === 'fastify' ? ['fastify'] : []),
        'jose',
      ]);
      const tracing = readFileSync(join(src, 'tokens/tracing.ts'), 'utf8');
      expect(tracing.match(/^import.*?from '@opentelemetry\/api'/gms)?.[0]).toMatch(/^import type/);
      const text = readFileSync(join(src, 'guard/fastify/fastify-guard.ts'), 'utf8');
      expect(text.match(/^import.*from 'fastify'/gms)?.[0]).toMatch(/^import type/);
    },
  );

  test('there are no import circles', () => {
    const edges = new Map<string, string[]>();
    for (const one of imports.filter(isOurs)) {
      edges.set(one.from, [...(edges.get(one.from) ?? []), targetOf(one)]);
    }
    const done = new Set<string>();
    const circles: string[] = [];
    const walk = (file: string, path: readonly string[]): void => {
      if (path.includes(file)) {
        circles.push([...path.slice(path.indexOf(file)), file].join(' > '));
        return;
      }
      if (done.has(file)) return;
      for (const next of edges.get(file) ?? []) walk(next, [...path, file]);
      done.add(file);
    };
    for (const file of files) walk(file, []);
    expect(circles).toEqual([]);
  });

  test('a name means one file', () => {
    const names = files.map((file) => basename(file)).filter((name) => name !== 'index.ts');
    expect(names.filter((name, index) => names.indexOf(name) !== index)).toEqual([]);
  });

  test('files stay readable', () => {
    const large = files.filter(
      (file) => readFileSync(join(src, file), 'utf8').split('\n').length > 520,
    );
    expect(large).toEqual([]);
  });

  test('pure rooms read neither the environment nor the time by themselves', () => {
    const pure = files.filter((file) =>
      ['tokens', 'rotation', 'verification', 'provider', 'peers', 'serving', 'client'].includes(
        roomOf(file),
      ),
    );
    const wrong = pure.filter((file) => {
      const text = readFileSync(join(src, file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*/g, '');
      const offending = /process\.env|Date\.now\(\)|new Date\(\)/.test(text);
      return offending && file !== 'tokens/time.ts';
    });
    expect(wrong).toEqual([]);
  });

  test('no URL.canParse, which is wrong on Node.js 20: parseUrl', () => {
    const wrong = files.filter(
      (file) =>
        file !== 'tokens/http.ts' && readFileSync(join(src, file), 'utf8').includes('URL.canParse'),
    );
    expect(wrong).toEqual([]);
  });

  test('every test stands beside the room it is for', () => {
    const rooms = new Set([
      'contract',
      'deploy',
      'e2e',
      'faults',
      'fuzz',
      'interop',
      'mutation',
      'package',
      'support',
      'attacks',
    ]);
    for (const file of files) rooms.add(roomOf(file));
    const folders = readdirSync(join(root, 'test'), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => relative(join(root, 'test'), join(entry.parentPath, entry.name)));
    expect(folders.filter((folder) => !rooms.has(folder))).toEqual([]);
  });

  test('property tests draw the same values at every run: support/properties.ts', () => {
    const test = join(root, 'test');
    const drawing = readdirSync(test, { recursive: true, encoding: 'utf8' }).filter(
      (file) =>
        file.endsWith('.ts') &&
        /from ['"]fast-check['"]/.test(readFileSync(join(test, file), 'utf8')),
    );
    expect(drawing).toEqual([join('support', 'properties.ts')]);
  });

  describe('as docs/architecture.md shows it', () => {
    const page = readFileSync(join(root, 'docs/architecture.md'), 'utf8');
    const drawn = [...page.matchAll(/^ {2}(\w+) --> (\w+)$/gm)].map(([, from = '', to = '']) => ({
      from,
      to,
    }));
    const real = new Set(
      imports
        .filter(isOurs)
        .map((one) => [roomOf(one.from), roomOf(targetOf(one))])
        .filter(([from, to]) => from !== to && from !== 'doors')
        .map((rooms) => rooms.join(' --> ')),
    );
    const isReachable = (from: string, to: string): boolean =>
      drawn.some((one) => one.from === from && (one.to === to || isReachable(one.to, to)));

    test('the rooms are those of src', () => {
      const rooms = new Set(files.map(roomOf).filter((room) => room !== 'doors'));
      const [, table = ''] = page.split('## The rooms');
      const listed = [...(table.split('\n## ')[0] ?? '').matchAll(/^\| `(\w+)` /gm)].map(
        ([, room = '']) => room,
      );
      expect(listed.toSorted()).toEqual([...rooms].toSorted());
    });

    test('the arrows are the imports: each one is real, and every import follows them', () => {
      expect(drawn.length).toBeGreaterThan(15);
      expect(drawn.filter(({ from, to }) => !real.has(`${from} --> ${to}`))).toEqual([]);
      const undrawn = [...real].filter((one) => {
        const [from = '', to = ''] = one.split(' --> ');
        return !isReachable(from, to);
      });
      expect(undrawn).toEqual([]);
    });

    test('the files that it names exist', () => {
      const named = [...page.matchAll(/`((?:[\w-]+\/)+[\w.-]+\.ts)`/g)].map(
        ([, file = '']) => file,
      );
      expect(named.length).toBeGreaterThan(60);
      expect(
        named.filter((file) => !files.includes(file) && !existsSync(join(root, file))),
      ).toEqual([]);
    });
  });
});
