import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../../', import.meta.url));

/** What `npm pack` writes for a package folder, as a tarball in `folder`. */
async function pack(source: string, folder: string): Promise<{ file: string; files: string[] }> {
  const { stdout } = await run(
    'npm',
    ['pack', source, '--ignore-scripts', '--json', '--pack-destination', folder],
    { cwd: root, maxBuffer: 16_000_000 },
  );
  const answer = JSON.parse(stdout) as unknown;
  // npm writes a list, or from version 12 on an object by package name.
  const [packed] = Object.values(answer as Record<string, Packed>);
  if (packed === undefined) throw new Error('npm pack wrote nothing');
  return { file: join(folder, packed.filename), files: packed.files.map(({ path }) => path) };
}

interface Packed {
  readonly filename: string;
  readonly files: readonly { readonly path: string }[];
}

describe('the packed tarball', () => {
  let folder: string;
  let files: string[];

  const node = async (script: string): Promise<string> => {
    await writeFile(join(folder, 'script.mjs'), script);
    const { stdout } = await run(process.execPath, ['script.mjs'], { cwd: folder });
    return stdout.trim();
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'packed-'));
    await writeFile(join(folder, 'package.json'), '{"private":true,"type":"module"}');
    const ours = await pack(root, folder);
    files = ours.files;
    // The only dependency is packed from what is installed here, so that the test needs no registry.
    const jose = await pack(join(root, 'node_modules/jose'), folder);
    await run('npm', ['install', '--offline', '--no-audit', '--no-fund', ours.file, jose.file], {
      cwd: folder,
    });
  }, 120_000);

  afterAll(() => rm(folder, { recursive: true, force: true }));

  test('holds what users need, and nothing else', () => {
    const wrong = files.filter(
      (file) =>
        !/^dist\/[\w./-]+\.(js|d\.ts)$/.test(file) &&
        !['package.json', 'README.md', 'LICENSE', 'CHANGELOG.md'].includes(file),
    );
    expect(wrong).toEqual([]);
    expect(files).toEqual(
      expect.arrayContaining([
        'README.md',
        'LICENSE',
        'dist/index.js',
        'dist/index.d.ts',
        'dist/cli.js',
      ]),
    );
  });

  test('installs jose and nothing else', async () => {
    const installed = await readdir(join(folder, 'node_modules'));
    expect(installed.filter((name) => !name.startsWith('.')).toSorted()).toEqual([
      'jose',
      'service-token-broker',
    ]);
  });

  test('the root can be imported with that alone', async () => {
    const names = await node(`
      import * as broker from 'service-token-broker';
      console.log(Object.keys(broker).sort().join(' '));
    `);
    expect(names.split(' ')).toEqual(
      expect.arrayContaining(['BrokerError', 'createTokenVerifier', 'explainToken']),
    );
  });

  test('what is not exported cannot be reached', async () => {
    await expect(node(`import 'service-token-broker/dist/rotation/rotator.js';`)).rejects.toThrow(
      'ERR_PACKAGE_PATH_NOT_EXPORTED',
    );
  });

  test('the command line says which packages it misses, and how to get them', async () => {
    const command = join(folder, 'node_modules/.bin/service-token-broker');
    await expect(run(command, ['--help'], { cwd: folder })).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/npm install "@nestjs\/common@\^12\.0\.0" .*"commander@\^14/),
    });
  });

  test('the test kit works with that alone', async () => {
    const kind = await node(`
      import { createTokenVerifier } from 'service-token-broker';
      import { createOfflineTestIssuer } from 'service-token-broker/testing';
      const issuer = await createOfflineTestIssuer();
      const verifier = createTokenVerifier(issuer.verifierOptions());
      const { principal } = await verifier.verify(await issuer.serviceToken());
      console.log(principal.kind);
    `);
    expect(kind).toBe('service');
  });

  test('the client needs nothing more either', async () => {
    const token = await node(`
      import { createServer } from 'node:http';
      import { once } from 'node:events';
      import { createAuthorizedFetch, createServiceTokenClient } from 'service-token-broker/client';
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

  test('nor do the types of the client', async () => {
    await writeFile(
      join(folder, 'typed.mts'),
      `import { createAuthorizedFetch, type AxiosLike } from 'service-token-broker/client';
      export const used: [typeof createAuthorizedFetch, AxiosLike?] = [createAuthorizedFetch];`,
    );
    const modules = join(root, 'node_modules');
    const flags =
      '--noEmit --strict --target es2023 --module nodenext --types node --skipLibCheck false';
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
    for (const name of ['@nestjs/common', '@nestjs/core', 'reflect-metadata', 'rxjs']) {
      const link = join(folder, 'node_modules', name);
      await mkdir(dirname(link), { recursive: true });
      await symlink(join(root, 'node_modules', name), link);
    }
    const names = await node(`
      import 'reflect-metadata';
      import * as guard from 'service-token-broker/guard';
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
    await rm(join(folder, 'node_modules/@nestjs'), { recursive: true });
  });

  test('the server and the module of the client work once their packages are there', async () => {
    // Links stand for `npm install` of the optional peers: the same files, without a registry.
    for (const name of await readdir(join(root, 'node_modules'))) {
      if (name.startsWith('.') || existsSync(join(folder, 'node_modules', name))) continue;
      await symlink(join(root, 'node_modules', name), join(folder, 'node_modules', name));
    }
    const names = await node(`
      import { BrokerModule } from 'service-token-broker/server';
      console.log(typeof BrokerModule.forRoot, typeof BrokerModule.forRootAsync);
      process.exit();
    `);
    expect(names).toBe('function function');
    const provided = await node(`
      import 'reflect-metadata';
      import { HttpService } from '@nestjs/axios';
      import { NestFactory } from '@nestjs/core';
      import { AUTHORIZED_FETCH, ServiceClientModule } from 'service-token-broker/client/nest';
      const module = ServiceClientModule.forRoot({
        tokens: { getToken: async () => ({ accessToken: 'a.b.c', expiresAt: Infinity }) },
        origins: [{ origin: 'https://billing.internal' }],
      });
      const app = await NestFactory.createApplicationContext(module, { logger: false });
      const refused = await app.get(HttpService).axiosRef.get('https://stranger.example').catch(({ code }) => code);
      console.log(typeof app.get(AUTHORIZED_FETCH), refused);
      await app.close();
    `);
    expect(provided).toBe('function ORIGIN_NOT_LISTED');
    const [required, same] = (
      await node(`
      import { createRequire } from 'node:module';
      import * as imported from 'service-token-broker/client/nest';
      const required = createRequire(import.meta.url)('service-token-broker/client/nest');
      console.log(Object.keys(required).sort().join(' '));
      console.log(required.ServiceClientModule === imported.ServiceClientModule);
    `)
    ).split('\n');
    expect(required?.split(' ')).toEqual(
      expect.arrayContaining(['AUTHORIZED_FETCH', 'SERVICE_TOKEN_SOURCE', 'ServiceClientModule']),
    );
    expect(same).toBe('true');
    const command = join(folder, 'node_modules/.bin/service-token-broker');
    const { stdout } = await run(command, ['--help'], { cwd: folder });
    expect(stdout).toContain('Usage: service-token-broker');
  });
});
