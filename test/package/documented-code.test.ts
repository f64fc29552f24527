import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Script } from 'node:vm';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { parseSync } from '@swc/core';
import { createProgram } from '../../src/cli/program.js';
import { SETTING_NAMES } from '../../src/config/settings.js';
import { openApiDocument } from '../../src/operations/openapi.js';
import { parsePeers } from '../../src/peers/peers.js';
import { parseCredentialsSecret } from '../../src/provider/client-credentials.js';
import {
  BLOCKS,
  callsIn,
  PAGES,
  REDIRECTION,
  type Call,
  type DocumentedBlock,
} from '../support/documented-blocks.js';

// Every fenced block of every page is compiled, run or validated, here or where CHECKED_BY says.

const root = fileURLToPath(new URL('../../', import.meta.url));
const source = (path: string): string => readFileSync(join(root, path), 'utf8');
const exists = (path: string): boolean => existsSync(join(root, path));
const manifest = JSON.parse(source('package.json')) as {
  readonly scripts: Readonly<Record<string, string>>;
  readonly devDependencies: Readonly<Record<string, string>>;
};

/** Languages whose blocks are checked on every page: by this file, or by the one that is named. */
const EVERYWHERE: Readonly<Record<string, string>> = {
  ts: 'test/package/types.test.ts',
  yaml: 'test/package/documented-files.test.ts',
  sh: '',
  json: '',
  js: '',
  mermaid: '',
  hcl: '',
};

/** Blocks in other languages: the test that runs them, or the file whose lines they are. */
const CHECKED_BY: Readonly<Record<string, string>> = {
  'python of docs/other-languages.md': 'test/interop/documented-clients.test.ts',
  'go of docs/other-languages.md': 'test/interop/documented-clients.test.ts',
  'nginx of docs/gateways.md': 'test/interop/gateways/start-gateway.ts',
};

/** The languages of blocks whose lines stand, one for one, in a file that the interop suite compiles. */
const LINES_OF: Readonly<Record<string, string>> = {
  java: 'test/interop/providers/spring/src/main/java/interop/Documented.java',
};

/** What a page shows of an output, with a part of it that the code writes. */
const OUTPUTS: readonly (readonly [page: string, part: string, file: string])[] = [
  ['docs/audit.md', 'whole', 'src/cli/verify-audit.ts'],
  ['docs/audit.md', 'lines_missing', 'src/operations/audit-chain.ts'],
  [
    'docs/configuration.md',
    'its peers and trusted issuers apply from now on',
    'src/composition/observers.ts',
  ],
  ['docs/embedded-store.md', 'Master key', 'src/cli/store-commands.ts'],
  ['docs/helm.md', 'Nothing was made.', 'deploy/helm/service-token-broker/templates/_checks.tpl'],
  ['docs/operating.md', 'Receivers need: ', 'src/composition/own-token.ts'],
  [
    'examples/mesh/README.md',
    'the service token was not sent instead',
    'examples/mesh/src/orders.ts',
  ],
];

const of = (language: string): readonly DocumentedBlock[] =>
  BLOCKS.filter((block) => block.language === language);

describe('every block', () => {
  test('is of a language that something checks', () => {
    const known = new Set([...Object.keys({ ...EVERYWHERE, ...LINES_OF }), 'ini', 'text']);
    const odd = BLOCKS.filter(
      ({ language, page }) => !known.has(language) && !(`${language} of ${page}` in CHECKED_BY),
    );
    expect(odd.map(({ at, language }) => [at, language])).toEqual([]);
    expect(PAGES.length).toBeGreaterThan(40);
    expect(BLOCKS.length).toBeGreaterThan(150);
  });

  test('that another test checks is read there', () => {
    for (const [what, file] of Object.entries(CHECKED_BY)) {
      const [, page = ''] = what.split(' of ');
      expect(source(file)).toContain(page);
    }
    for (const file of Object.values(EVERYWHERE).filter(Boolean)) {
      expect(source(file)).toContain('documented-blocks.js');
    }
  });
});

test('every line in Java stands in a program that the interop suite compiles', () => {
  const linesOf = (code: string): readonly string[] => code.split('\n').map((line) => line.trim());
  for (const [language, file] of Object.entries(LINES_OF)) {
    const program = linesOf(source(file));
    for (const { at, text } of of(language)) {
      const missing = linesOf(text).filter((line) => !program.includes(line));
      expect({ at, missing }).toEqual({ at, missing: [] });
    }
  }
});

describe.each(of('json').map((block) => [block.at, block] as const))(
  '%s',
  (_at, { page, text }) => {
    const value = JSON.parse(text) as Record<string, unknown>;
    // What is left out of a page.
    const whole = text.replaceAll('…', 'A'.repeat(43));

    test('is what it seems to be', () => {
      if ('Statement' in value || 'Effect' in value) {
        requirePolicy(value);
      } else if ('client_id' in value && 'client_secret' in value) {
        parseCredentialsSecret(whole);
      } else if ('peers' in value) {
        const { byId, malformed } = parsePeers(whole);
        expect({ peers: [...byId.keys()], malformed: [...malformed.keys()] }).toEqual({
          peers: Object.keys(value['peers'] as object),
          malformed: [],
        });
      } else if ('realm' in value) {
        // At Keycloak itself.
        expect(source('test/interop/providers/keycloak.test.ts')).toContain(page);
      } else if ('prev' in value) {
        const names = Object.keys(value).filter(
          (name) => !auditText.includes(name.split('_')[0] ?? ''),
        );
        expect(names).toEqual([]);
      } else if ('secret' in value) {
        expect(Object.keys(value)).toEqual(['id', 'secret']);
      } else if (typeof value['error'] === 'object') {
        // Of a command: an end-to-end test has its form.
        expect(Object.keys(value['error'] ?? {})).toEqual(['code', 'kind', 'message']);
      } else {
        const [schema] = Object.entries({
          active: 'Introspection',
          access_token: 'Token',
          error: 'Error',
        })
          .filter(([name]) => name in value)
          .map(([, id]) => id);
        expect(schema).toBeDefined();
        validate(value, schema ?? '');
      }
    });
  },
);

const auditText = ['src/operations/audit-chain.ts', 'src/operations/audit-events.ts']
  .map(source)
  .join('\n')
  .toLowerCase();

/** A policy of IAM, or a statement of one, as its grammar has it. */
function requirePolicy(policy: Record<string, unknown>): void {
  const statements = (policy['Statement'] ?? [policy]) as readonly Record<string, unknown>[];
  if ('Statement' in policy) {
    expect(Object.keys(policy).toSorted()).toEqual(['Statement', 'Version']);
    expect(policy['Version']).toBe('2012-10-17');
  }
  const members = new Set(['Sid', 'Effect', 'Principal', 'Action', 'Resource', 'Condition']);
  for (const statement of statements) {
    expect(Object.keys(statement).filter((name) => !members.has(name))).toEqual([]);
    expect(statement['Effect']).toMatch(/^(?:Allow|Deny)$/);
    expect('Principal' in statement || 'Resource' in statement).toBe(true);
    for (const action of [statement['Action']].flat()) {
      expect(action).toMatch(/^[a-z]+:[A-Z][A-Za-z]+$/);
    }
  }
}

const ajv = new Ajv2020({ strict: false });
ajv.addSchema({ $id: 'broker', ...openApiDocument() });

/** Against a schema of the broker's own OpenAPI document. */
function validate(value: object, schema: string): void {
  const isValid = ajv.validate({ $ref: `broker#/components/schemas/${schema}` }, value);
  expect({ schema, errors: isValid ? [] : ajv.errors }).toEqual({ schema, errors: [] });
}

test('JavaScript and Mermaid are of their languages', () => {
  for (const { text } of of('js')) {
    const parse = (): unknown => parseSync(text, { syntax: 'ecmascript', target: 'es2023' });
    expect(parse).not.toThrow();
  }
  for (const { at, text } of of('mermaid')) {
    const [first = '', ...lines] = text.trim().split('\n');
    const opened = lines.filter((line) => line.trim().startsWith('subgraph ')).length;
    const closed = lines.filter((line) => line.trim() === 'end').length;
    expect({ at, first, open: opened - closed }).toEqual({
      at,
      first: expect.stringMatching(/^(?:flowchart (?:LR|TD)|sequenceDiagram)$/),
      open: 0,
    });
  }
});

/** What any block of a Terraform module may have, beside the module's own variables. */
const OF_ANY_MODULE = new Set([
  'source',
  'version',
  'providers',
  'count',
  'for_each',
  'depends_on',
]);

// The interop suite validates them with Terraform itself.
test("Terraform's blocks close what they open, and name variables that the module has", () => {
  for (const { at, text } of of('hcl')) {
    const known = [...source('deploy/terraform/variables.tf').matchAll(/^variable "(\w+)"/gm)];
    const variables = new Set(known.map(([, name]) => name));
    const code = text.replaceAll(/"[^"\n]*"|#.*/g, '');
    const depth = (open: RegExp, close: RegExp): number =>
      [...code.matchAll(open)].length - [...code.matchAll(close)].length;
    expect({ at, open: [depth(/[{]/g, /[}]/g), depth(/\[/g, /\]/g)] }).toEqual({
      at,
      open: [0, 0],
    });
    const modules = [...text.matchAll(/^module "broker" \{\n([\s\S]*?)^\}$/gm)];
    const odd = modules
      .flatMap(([, body = '']) => body.match(/^ {2}\w+(?= +=)/gm) ?? [])
      .map((name) => name.trim())
      .filter((name) => !variables.has(name) && !OF_ANY_MODULE.has(name));
    expect({ at, odd }).toEqual({ at, odd: [] });
  }
});

test('outputs are those that the code writes', () => {
  const shown = of('text').map(({ page }) => page);
  expect([...new Set(shown)]).toEqual([...new Set(OUTPUTS.map(([page]) => page))].toSorted());
  for (const [page, part, file] of OUTPUTS) {
    expect(
      of('text').filter((block) => block.page === page && block.text.includes(part)),
    ).toHaveLength(1);
    expect(source(file)).toContain(part.trim());
  }
});

test("units of systemd have sections with assignments, and services run the broker's command", async () => {
  for (const { at, text } of of('ini')) {
    const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    const odd = lines.filter((line) => !/^(?:\[[A-Z]\w+\]|[A-Z]\w+=\S.*)$/.test(line));
    expect({ at, odd }).toEqual({ at, odd: [] });
    if (text.includes('[Timer]')) continue;
    const [, command = ''] = /^ExecStart=(.*)$/m.exec(text) ?? [];
    expect(await mistakeOf(brokerArguments(command.split(' ')) ?? ['none'])).toBeUndefined();
  }
});

/** What the command line says against a call; `undefined` when it takes it. */
async function mistakeOf(args: readonly string[]): Promise<string | undefined> {
  const nothing = (): Promise<void> => Promise.resolve();
  const program = createProgram(nothing, nothing);
  try {
    // Its help would end it, and is written at once.
    const words = args.filter((word) => word !== '--help');
    await program.parseAsync(words, { from: 'user' });
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** What a call hands to the broker's command line; `undefined` when it is another program's. */
function brokerArguments(words: readonly string[]): readonly string[] | undefined {
  const file = words.indexOf('dist/cli.js');
  if (file !== -1) return words.slice(file + 1);
  if (words.includes('install')) return undefined;
  const runs = /^(?:service-token-broker|npx|sudo|\/usr\/bin\/env)$/.test(words[0] ?? '');
  const name = words.findIndex((word) =>
    /^(?:\.\/\S+\/)?service-token-broker(?:-[\d.]+\.tgz)?$/.test(word),
  );
  return runs && name !== -1 ? words.slice(name + 1) : undefined;
}

/** Whoever is called in the shell's blocks, and what is known of the call. */
const PROGRAMS = new Set(
  'aws base64 cat cp curl date docker gh git go grep helm kubectl mkdir node npm npx openssl rm sed sleep sudo terraform tofu'.split(
    ' ',
  ),
);

/** Hosts of others than the broker, which have routes of their own. */
const OTHER_HOSTS = new Set([
  '127.0.0.1:3001', // the provider of development mode
  '127.0.0.1:3100', // the example with the guard
  '127.0.0.1:3200', // the example in Go
  'billing.example.com', // a service that is called
  'metadata.google.internal',
]);

/** Packages that `npx` runs and this repository does not have. */
const OTHER_PACKAGES = new Set(['openapi-typescript', 'service-token-broker']);

/** Variables that are not the broker's, and what reads them. */
const OTHER_VARIABLES = new Set([
  'NODE_DIGEST', // an argument of the image's build
  'AWS_REGION',
  'NODE_OPTIONS',
  'OTEL_SERVICE_NAME',
  'OTEL_EXPORTER_OTLP_ENDPOINT',
  // A service that is moved over has these.
  'TOKEN_URL',
  'CLIENT_ID',
  'CLIENT_SECRET',
  // The programs of examples/go.
  'AUDIENCE',
  'BILLING_URL',
  'LISTEN',
  'BROKER_URL',
  'BROKER_CLIENT_SECRET',
]);

describe('the shell', () => {
  let calls: readonly Call[];
  const by = (program: string): readonly Call[] =>
    calls.filter(({ words }) => words[0] === program);
  const none = (found: readonly unknown[]): void => expect(found).toEqual([]);

  beforeAll(async () => {
    // By a path a program would run.
    none(of('sh').filter(({ text }) => /(?:^|[|;&(])\s*\/\w/m.test(text)));
    calls = await callsIn(of('sh'));
  });

  test('takes every block, and calls programs that are known', () => {
    expect(calls.length).toBeGreaterThan(150);
    none(calls.filter(({ words }) => !PROGRAMS.has(words[0] ?? '') && !brokerArguments(words)));
  });

  test("the broker's commands have these arguments and options, in the text of the pages too", async () => {
    const inText = PAGES.flatMap((page) =>
      [
        ...source(page).matchAll(/`(?:service-token-broker|node dist\/cli\.js) ([a-z][^`…|]*)`/g),
      ].map(([, words = '']): Call => ({
        at: page,
        words: ['service-token-broker', ...words.replaceAll(REDIRECTION, '').trim().split(/\s+/)],
      })),
    );
    expect(inText.length).toBeGreaterThan(20);
    for (const { at, words } of [...calls, ...inText]) {
      const args = brokerArguments(words);
      if (args === undefined) continue;
      expect({ at, words, mistake: await mistakeOf(args) }).toEqual({ at, words });
    }
  });

  test('curl asks for routes that the broker has', () => {
    const { paths } = openApiDocument() as { paths: Record<string, object> };
    const asked = by('curl').map(({ at, words }) => {
      const given = words.find((word) => /^(?:https?:\/)?\/[\w./:-]/.test(word)) ?? '';
      const { host, pathname } = new URL(given, 'https://broker.internal');
      const data = words.some((word) => /^(?:-d|--data|--data-urlencode)$/.test(word));
      const method = words[words.indexOf('-X') + 1] ?? '';
      return { at, host, pathname, method: words.includes('-X') ? method : data ? 'POST' : 'GET' };
    });
    expect(asked.length).toBeGreaterThan(20);
    none(
      asked.filter(
        ({ host, pathname, method }) =>
          !OTHER_HOSTS.has(host) && !(method.toLowerCase() in (paths[pathname] ?? {})),
      ),
    );
  });

  test('npm and npx run what there is, and node takes its one-liners', () => {
    const scripts = by('npm').map(({ at, words: [, first = '', second = ''] }) => ({
      at,
      script: first === 'run' ? second : first,
    }));
    none(
      scripts.filter(
        ({ script }) =>
          !['audit', 'ci', 'install'].includes(script) && !(script in manifest.scripts),
      ),
    );
    none(
      by('npx').filter(({ words: [, name = ''] }) =>
        name.endsWith('.tgz')
          ? !name.startsWith('./')
          : !(name in manifest.devDependencies) && !OTHER_PACKAGES.has(name),
      ),
    );
    for (const { words } of by('node')) {
      if (words[1] === '-p') expect(() => new Script(words[2] ?? '')).not.toThrow();
    }
  });

  test('aws calls operations that the SDK has', async () => {
    const clients: Readonly<Record<string, object>> = {
      kms: await import('@aws-sdk/client-kms'),
      secretsmanager: await import('@aws-sdk/client-secrets-manager'),
      sts: await import('@aws-sdk/client-sts'),
    };
    const named = by('aws').map(({ at, words: [, service = '', operation = ''] }) => ({
      at,
      service,
      command: `${operation.replaceAll(/(?:^|-)(\w)/g, (_all, letter: string) => letter.toUpperCase())}Command`,
    }));
    expect(named.length).toBeGreaterThan(20);
    none(
      named.filter(({ service, command }) => clients[service] && !(command in clients[service])),
    );
  });

  test('files of this repository exist', () => {
    const files = calls.flatMap(({ at, words }) =>
      words
        // To kubectl "deploy/NAME" is a Deployment, but for what its options name.
        .filter((_word, index) => words[0] !== 'kubectl' || /^-[fk]$/.test(words[index - 1] ?? ''))
        .filter((word) => /^(?:deploy|docs|examples|test|bench)\/\S+$/.test(word))
        .map((word) => ({ at, word })),
    );
    none(files.filter(({ word }) => !exists(word) && !exists(`${word}.test.ts`)));
  });
});

test('every variable is a setting, or is used on its page, or is known to be of others', () => {
  const settings = new Set<string>(['BROKER_CONFIG', ...SETTING_NAMES]);
  const odd = [...of('sh'), ...of('ini')].flatMap(({ at, page, text }) =>
    [...text.matchAll(/(?:^|[\s;&|("=])([A-Z][A-Z0-9_]*)=/gm)]
      .map(([, name = '']) => name)
      .filter((name) => !settings.has(name) && !OTHER_VARIABLES.has(name))
      .filter((name) => !new RegExp(`\\$\\{?${name}\\b`).test(source(page)))
      .map((name) => ({ at, name })),
  );
  expect(odd).toEqual([]);
});

/** Names that begin as settings do, and what they are. */
const OTHER_NAMES = new Set([
  // Settings of services in other languages.
  'BROKER_URL',
  'BROKER_CLIENT_SECRET',
  // What Kubernetes sets for a Service named "broker".
  'BROKER_HOST',
  'BROKER_PORT',
  'BROKER_STOPPING', // an error code of the broker
]);

test('every name in a text that looks like a setting is one', () => {
  const settings = ['BROKER_CONFIG', ...SETTING_NAMES];
  const codes = source('src/client/client-errors.ts');
  const odd = PAGES.flatMap((page) =>
    [...source(page).matchAll(/\bBROKER_[A-Z_]+\b/g)]
      .map(([name]) => name)
      .filter(
        (name) =>
          !settings.some((one) => (name.endsWith('_') ? one.startsWith(name) : one === name)),
      )
      .filter((name) => !OTHER_NAMES.has(name) && !codes.includes(name))
      .map((name) => `${page}: ${name}`),
  );
  expect(odd).toEqual([]);
});
