import { execFile } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { openApiDocument } from '../../src/operations/openapi.js';
import { runNode, startBroker } from '../support/broker-process.js';
import { packagesBuild } from '../support/packages-build.js';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));
const packages = join(root, 'dist-packages');

interface Packed {
  readonly name: string;
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

/** What `npm pack` writes, for each of {@link SOURCES}, as a tarball in {@link tarballs}. */
interface Tarball {
  readonly file: string;
  readonly files: readonly string[];
}
const SOURCES = {
  kit: join(packages, 'service-token-kit'),
  broker: join(packages, 'service-token-broker'),
  // The only dependency of the kit is packed from what is installed here, so that the test needs no registry.
  jose: join(root, 'node_modules/jose'),
} as const;
let tarballs: string;
let packed: Readonly<Record<keyof typeof SOURCES, Tarball>>;

beforeAll(async () => {
  await packagesBuild();
  tarballs = await mkdtemp(join(tmpdir(), 'packed-'));
  const { stdout } = await run(
    'npm',
    [
      'pack',
      ...Object.values(SOURCES),
      '--ignore-scripts',
      '--json',
      '--pack-destination',
      tarballs,
    ],
    { cwd: root, maxBuffer: 16_000_000 },
  );
  const answer = JSON.parse(stdout) as unknown;
  // npm writes a list, or from version 12 on an object by package name.
  const all = Object.values(answer as Record<string, Packed>);
  const tarballOf = (source: string): Tarball => {
    const { name } = JSON.parse(readFileSync(join(source, 'package.json'), 'utf8')) as {
      readonly name: string;
    };
    const one = all.find((each) => each.name === name);
    if (one === undefined) throw new Error(`npm pack wrote nothing for ${name}`);
    return { file: join(tarballs, one.filename), files: one.files.map(({ path }) => path) };
  };
  packed = {
    kit: tarballOf(SOURCES.kit),
    broker: tarballOf(SOURCES.broker),
    jose: tarballOf(SOURCES.jose),
  };
}, 120_000);

afterAll(() => rm(tarballs, { recursive: true, force: true }));

/** Links stand for `npm install` of other packages: the same files, without a registry. */
async function linkInstalled(folder: string, names: readonly string[]): Promise<void> {
  for (const name of names) {
    const link = join(folder, 'node_modules', name);
    if (existsSync(link)) continue;
    await mkdir(dirname(link), { recursive: true });
    await symlink(join(root, 'node_modules', name), link);
  }
}

type Manifest = Readonly<Record<string, unknown>> & {
  readonly dependencies: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly peerDependenciesMeta?: Readonly<Record<string, unknown>>;
};
const manifestOf = (name: string): Manifest =>
  JSON.parse(readFileSync(join(packages, name, 'package.json'), 'utf8')) as Manifest;

describe.each(['service-token-broker', 'service-token-kit'])('the package %s', (name) => {
  test('is right for publint', async () => {
    const { file } = name === 'service-token-kit' ? packed.kit : packed.broker;
    const { buffer } = new Uint8Array(readFileSync(file));
    const { messages, pkg } = await publint({ strict: true, pack: { tarball: buffer } });
    expect(messages.map((message) => formatMessage(message, pkg))).toEqual([]);
  });

  test('says what it is, whose, and where it comes from', () => {
    expect(manifestOf(name)).toMatchObject({
      name,
      version: expect.stringMatching(/^\d+\.\d+\.\d+$/),
      license: 'MIT',
      author: expect.any(String),
      homepage: expect.stringMatching(/^https:/),
      repository: { type: 'git', url: expect.stringMatching(/^git\+https:/) },
      bugs: { url: expect.stringMatching(/^https:/) },
      keywords: expect.any(Array),
      sideEffects: false,
    });
    expect(manifestOf(name)).not.toHaveProperty('private');
  });

  test('has a page without links that lead nowhere', () => {
    const page = readFileSync(join(packages, name, 'README.md'), 'utf8');
    expect(page).toContain(`# ${name}\n`);
    expect([...page.matchAll(/\]\((?!https?:)[^)]*\)/g)].map(([link]) => link)).toEqual([]);
  });
});

describe('the tarball of the kit', () => {
  let folder: string;
  let files: readonly string[];

  const node = async (script: string, file = 'script.mjs'): Promise<string> => {
    await writeFile(join(folder, file), script);
    const { stdout } = await run(process.execPath, [file], { cwd: folder });
    return stdout.trim();
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'packed-'));
    await writeFile(join(folder, 'package.json'), '{"private":true,"type":"module"}');
    const { kit, jose } = packed;
    files = kit.files;
    await run('npm', ['install', '--offline', '--no-audit', '--no-fund', kit.file, jose.file], {
      cwd: folder,
    });
  }, 120_000);

  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('holds what users need, and nothing else', () => {
    const wrong = files.filter(
      (file) =>
        !/^(?:esm|cjs)\/[\w./-]+\.(?:js|d\.ts)(?:\.map)?$/.test(file) &&
        !/^src\/(?:client|context|guard|index|secrets\/secret-store|testing|tokens|verification)\b[\w./-]*\.ts$/.test(
          file,
        ) &&
        ![
          'package.json',
          'README.md',
          'LICENSE',
          'CHANGELOG.md',
          'cjs/package.json',
          'cjs/vendor/LICENSE-jose.md',
        ].includes(file),
    );
    expect(wrong).toEqual([]);
    expect(files).toEqual(
      expect.arrayContaining(['README.md', 'LICENSE', 'esm/index.js', 'cjs/index.d.ts']),
    );
  });

  test('has for each module its source, to which its maps lead', () => {
    const modules = files.filter((file) => /^(?:esm|cjs)\/(?!vendor).*\.(?:js|d\.ts)$/.test(file));
    let mapped = 0;
    for (const file of modules) {
      const map = JSON.parse(
        readFileSync(join(folder, 'node_modules/service-token-kit', `${file}.map`), 'utf8'),
      ) as { readonly sources: readonly string[] };
      // A module that only exports what others have maps to nothing.
      expect(map.sources.length).toBeLessThan(2);
      for (const source of map.sources) expect(files).toContain(join(dirname(file), source));
      mapped += map.sources.length;
    }
    expect(mapped).toBeGreaterThan(150);
  });

  test('asks for jose alone, and for no peer', () => {
    const { dependencies, peerDependencies, peerDependenciesMeta } =
      manifestOf('service-token-kit');
    expect(Object.keys(dependencies)).toEqual(['jose']);
    expect(Object.keys(peerDependencies ?? {})).toEqual(
      expect.arrayContaining(['@nestjs/common', '@nestjs/core', 'axios', 'rxjs']),
    );
    for (const name of Object.keys(peerDependencies ?? {})) {
      expect(peerDependenciesMeta?.[name]).toEqual({ optional: true });
    }
  });

  test('installs jose and nothing else', async () => {
    const installed = await readdir(join(folder, 'node_modules'));
    expect(installed.filter((name) => !name.startsWith('.')).toSorted()).toEqual([
      'jose',
      'service-token-kit',
    ]);
  });

  test('the root can be imported with that alone', async () => {
    const names = await node(`
      import * as kit from 'service-token-kit';
      console.log(Object.keys(kit).sort().join(' '));
    `);
    expect(names.split(' ')).toEqual(
      expect.arrayContaining(['BrokerError', 'createTokenVerifier', 'explainToken']),
    );
  });

  test('what is not exported cannot be reached', async () => {
    await expect(node(`import 'service-token-kit/esm/guard/jwt.guard.js';`)).rejects.toThrow(
      'ERR_PACKAGE_PATH_NOT_EXPORTED',
    );
  });

  const offline = `
    async function kindOf({ createTokenVerifier }, { createOfflineTestIssuer }) {
      const issuer = await createOfflineTestIssuer();
      const verifier = createTokenVerifier(issuer.verifierOptions());
      return (await verifier.verify(await issuer.serviceToken())).principal.kind;
    }`;

  test('the test kit works with that alone', async () => {
    const kind = await node(`${offline}
      import * as kit from 'service-token-kit';
      import * as testing from 'service-token-kit/testing';
      console.log(await kindOf(kit, testing));
    `);
    expect(kind).toBe('service');
  });

  test('as CommonJS too, and there without jose', async () => {
    const kind = await node(
      `${offline}
      const { Module } = require('node:module');
      const load = Module._load;
      Module._load = (name, ...more) => {
        if (name === 'jose') throw new Error('jose is loaded');
        return load(name, ...more);
      };
      kindOf(require('service-token-kit'), require('service-token-kit/testing')).then(console.log);`,
      'script.cjs',
    );
    expect(kind).toBe('service');
  });

  test('two copies in one process work together', async () => {
    const said = await node(`
      import { createRequire } from 'node:module';
      import * as imported from 'service-token-kit/client';
      import { createOfflineTestIssuer } from 'service-token-kit/testing';
      const required = createRequire(import.meta.url)('service-token-kit/client');
      const verifier = createRequire(import.meta.url)('service-token-kit');
      console.log(required.BrokerError === imported.BrokerError);
      // The call context, which the guard of one sets and the client of the other reads.
      const principal = { kind: 'service' };
      console.log(required.runWithPrincipal(principal, 'token', () => imported.currentCallContext().principal.kind));
      console.log(imported.runWithPrincipal(principal, 'token', () => required.currentCallContext().principal.kind));
      const issuer = await createOfflineTestIssuer();
      const error = await verifier.createTokenVerifier(issuer.verifierOptions()).verify('no token').catch((thrown) => thrown);
      console.log(error instanceof imported.BrokerError, error instanceof imported.AttachmentError, error.code);
      console.log(new Error('other') instanceof imported.BrokerError, ({}) instanceof imported.BrokerError);
    `);
    expect(said.split('\n')).toEqual([
      'false',
      'service',
      'service',
      'true false TOKEN_MALFORMED',
      'false false',
    ]);
  });

  test('the client needs nothing more either', async () => {
    const token = await node(`
      import { createServer } from 'node:http';
      import { once } from 'node:events';
      import { createAuthorizedFetch, createServiceTokenClient } from 'service-token-kit/client';
      const server = createServer((request, response) => {
        response.setHeader('content-type', 'application/json');
        const token = { access_token: 'a.b.c', token_type: 'Bearer', expires_in: 3600 };
        const { authorization } = request.headers;
        response.end(JSON.stringify(request.url === '/oauth2/token' ? token : authorization));
      }).listen(0, '127.0.0.1');
      await once(server, 'listening');
      const origin = 'http://127.0.0.1:' + server.address().port;
      const tokens = createServiceTokenClient({ brokers: origin, peer: { id: 'orders', secret: 'secret' } });
      const send = createAuthorizedFetch({ tokens, outsideCalls: 'service', origins: [{ origin }] });
      console.log(await (await send(origin, { as: 'service' })).json());
      server.close();
      server.closeAllConnections();
    `);
    expect(token).toBe('Bearer a.b.c');
  });

  test('nor do the guards of Express and Fastify, in either format', async () => {
    const script = (load: string) => `
      ${load}
      const guard = express.createExpressGuard({ verifier: { verify() {}, keyStates() {} } });
      console.log(typeof guard.requireToken({ allow: 'service' }), typeof fastify.fastifyGuard);`;
    const names = ['express', 'fastify'] as const;
    const required = names.map(
      (name) => `const ${name} = require('service-token-kit/guard/${name}');`,
    );
    const imported = names.map(
      (name) => `import * as ${name} from 'service-token-kit/guard/${name}';`,
    );
    await expect(node(script(imported.join('\n')))).resolves.toBe('function function');
    await expect(node(script(required.join('\n')), 'script.cjs')).resolves.toBe(
      'function function',
    );
  });

  test('nor do the types of the client and of the guard for Express', async () => {
    await writeFile(
      join(folder, 'typed.mts'),
      `import { createAuthorizedFetch, type AxiosLike } from 'service-token-kit/client';
      import { createExpressGuard, type ExpressGuard } from 'service-token-kit/guard/express';
      export const used: [typeof createAuthorizedFetch, AxiosLike?] = [createAuthorizedFetch];
      export const guard: () => ExpressGuard = () => createExpressGuard({ issuers: [] });`,
    );
    const modules = join(root, 'node_modules');
    // What belongs to TypeScript itself is not checked: that takes as long as all else.
    const flags =
      '--noEmit --strict --target es2023 --module nodenext --types node --skipLibCheck false --skipDefaultLibCheck';
    const compiling = run(
      process.execPath,
      [
        join(modules, 'typescript/bin/tsc'),
        ...flags.split(' '),
        '--typeRoots',
        join(modules, '@types'),
        'typed.mts',
      ],
      { cwd: folder },
    );
    // tsc writes what it has against a file to its standard output.
    await expect(
      compiling.catch(({ stdout }: { stdout: string }) => stdout),
    ).resolves.toMatchObject({
      stdout: '',
    });
  });

  test('the guard needs Nest, and neither the AWS SDK nor the packages of the broker', async () => {
    await linkInstalled(folder, ['@nestjs/common', '@nestjs/core', 'reflect-metadata', 'rxjs']);
    const names = await node(`
      import 'reflect-metadata';
      import * as guard from 'service-token-kit/guard';
      console.log(Object.keys(guard).join(' '));
    `);
    expect(names.split(' ')).toEqual(
      expect.arrayContaining([
        'JwtGuardModule',
        'JwtGuard',
        'AllowCustomer',
        'AllowService',
        'Public',
        'RequireScopes',
        'CurrentPrincipal',
        'createTokenVerifier',
      ]),
    );
  });

  test('the module of the client works once its packages are there, imported or required', async () => {
    await linkInstalled(folder, ['@nestjs/axios', 'axios']);
    const provided = await node(`
      import 'reflect-metadata';
      import { createRequire } from 'node:module';
      import { HttpService } from '@nestjs/axios';
      import { NestFactory } from '@nestjs/core';
      import * as imported from 'service-token-kit/client/nest';
      const required = createRequire(import.meta.url)('service-token-kit/client/nest');
      for (const { AUTHORIZED_FETCH, ServiceClientModule } of [imported, required]) {
        const module = ServiceClientModule.forRoot({
          tokens: { getToken: async () => ({ accessToken: 'a.b.c', expiresAt: Infinity }) },
          origins: [{ origin: 'https://billing.internal' }],
        });
        const app = await NestFactory.createApplicationContext(module, { logger: false });
        const refused = await app.get(HttpService).axiosRef.get('https://stranger.example').catch(({ code }) => code);
        console.log(typeof app.get(AUTHORIZED_FETCH), refused);
        await app.close();
      }
      console.log(Object.keys(required).sort().join() === Object.keys(imported).sort().join());
    `);
    expect(provided.split('\n')).toEqual([
      'function ORIGIN_NOT_LISTED',
      'function ORIGIN_NOT_LISTED',
      'true',
    ]);
  });
});

describe('the tarball of the broker', () => {
  let folder: string;
  let installed: string;
  let files: readonly string[];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'packed-'));
    await writeFile(join(folder, 'package.json'), '{"private":true,"type":"module"}');
    files = packed.broker.files;
    installed = join(folder, 'node_modules/service-token-broker');
    await mkdir(installed, { recursive: true });
    await run('tar', ['-xzf', packed.broker.file, '-C', installed, '--strip-components=1']);
    await linkInstalled(folder, Object.keys(manifestOf('service-token-broker').dependencies));
  }, 120_000);

  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('holds what users need, and nothing else', () => {
    const wrong = files.filter(
      (file) =>
        !/^dist\/(?:cli|main|server|lambda|config-reader|(?:cli|doors)\/[\w.-]+)\.js(?:\.map)?$/.test(
          file,
        ) &&
        !/^types\/[\w./-]+\.d\.ts(?:\.map)?$/.test(file) &&
        !/^src\/[\w./-]+\.ts$/.test(file) &&
        ![
          'package.json',
          'README.md',
          'LICENSE',
          'CHANGELOG.md',
          'dist/THIRD-PARTY-LICENSES.txt',
          'docs/runbook.md',
          'openapi.json',
        ].includes(file),
    );
    expect(wrong).toEqual([]);
    // Nothing of the kit.
    expect(files.filter((file) => /^src\/(?:guard|client|testing|context)\//.test(file))).toEqual(
      [],
    );
  });

  test('installs all that it needs', () => {
    const { dependencies, peerDependencies, peerDependenciesMeta } =
      manifestOf('service-token-broker');
    expect(Object.keys(peerDependencies ?? {})).toEqual(['@opentelemetry/api']);
    expect(peerDependenciesMeta).toEqual({ '@opentelemetry/api': { optional: true } });
    expect(Object.keys(dependencies)).toEqual(
      expect.arrayContaining(['@aws-sdk/client-secrets-manager', 'libsql', 'oidc-provider']),
    );
  });

  test('has the licenses of the packages that are in its bundle', () => {
    const licenses = readFileSync(join(installed, 'dist/THIRD-PARTY-LICENSES.txt'), 'utf8');
    for (const name of ['@nestjs/core', 'fastify', 'pino', 'rxjs', 'zod']) {
      expect(licenses).toMatch(new RegExp(`^${name} \\d`, 'm'));
    }
    expect(licenses).not.toMatch(/^(?:libsql|oidc-provider|@aws-sdk\/\S+) \d/m);
  });

  test('has the HTTP interface as OpenAPI, as the broker itself answers it', () => {
    const { resolve } = createRequire(join(folder, 'package.json'));
    const file = resolve('service-token-broker/openapi.json');
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(
      JSON.parse(JSON.stringify(openApiDocument())),
    );
  });

  test('its doors can be imported', async () => {
    const { stdout, stderr } = await runNode(
      [
        '--input-type=module',
        '--eval',
        `import { BrokerModule, SecretStoreError } from 'service-token-broker/server';
        import { handler } from 'service-token-broker/lambda';
        console.log(typeof BrokerModule.forRoot, typeof SecretStoreError, typeof handler);
        process.exit();`,
      ],
      {},
      { cwd: folder },
    );
    expect({ stdout, stderr }).toEqual({ stdout: 'function function function\n', stderr: '' });
  });

  test('nothing of the kit, and no module of its own, can be reached', async () => {
    for (const path of ['guard', 'dist/cli.js']) {
      await expect(
        run(process.execPath, ['--eval', `require('service-token-broker/${path}')`], {
          cwd: folder,
        }),
      ).rejects.toThrow('ERR_PACKAGE_PATH_NOT_EXPORTED');
    }
  });

  test('its command runs the broker in dev mode, and status asks it', async () => {
    const cli = join(installed, 'dist/cli.js');
    const broker = await startBroker(['dev'], {}, { cwd: folder, cli });
    const { port } = new URL(broker.url);
    const { code, stdout } = await runNode([cli, 'status'], { PORT: port }, { cwd: folder });
    expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringContaining(port) });
    expect(await broker.stop()).toEqual({ code: 0, signal: null });
    const version = await runNode([cli, '--version']);
    expect(version.stdout).toBe(`${String(manifestOf('service-token-broker')['version'])}\n`);
  });
});
