// Installs the tarballs of both packages into small projects, and runs the guard, the client and the test kit there. Needs
// the npm registry: `npm run matrix`. Arguments name some of the projects.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const packages = fileURLToPath(new URL('../../../dist-packages', import.meta.url));
const work = mkdtempSync(join(tmpdir(), 'matrix-'));

/** A command that hangs is ended after this many milliseconds. */
const PATIENCE = 10 * 60_000;

const KIT = tarball('service-token-kit');
const BROKER = tarball('service-token-broker');

const COMPILER = {
  target: 'ES2023',
  experimentalDecorators: true,
  emitDecoratorMetadata: true,
  strict: true,
  skipLibCheck: true,
  outDir: './dist',
  types: ['node', 'jest'],
};

/** As `nest new` of NestJS 11 writes it, with Fastify and the client's module added. */
const NEST_11 = {
  dependencies: {
    '@nestjs/axios': '^4.0.1',
    '@nestjs/common': '^11.0.1',
    '@nestjs/core': '^11.0.1',
    '@nestjs/platform-express': '^11.0.1',
    '@nestjs/platform-fastify': '^11.0.1',
    axios: '^1.8.0',
    'reflect-metadata': '^0.2.2',
    rxjs: '^7.8.1',
    'service-token-kit': KIT,
  },
  devDependencies: {
    '@nestjs/testing': '^11.0.1',
    '@types/jest': '^30.0.0',
    '@types/node': '^24.0.0',
    jest: '^30.0.0',
    'ts-jest': '^29.2.5',
    typescript: '^5.7.3',
  },
};

const NEST_12 = {
  '@nestjs/axios': '^12.0.0',
  '@nestjs/common': '^12.0.0',
  '@nestjs/core': '^12.0.0',
  '@nestjs/platform-express': '^12.0.0',
  '@nestjs/platform-fastify': '^12.0.0',
  '@nestjs/testing': '^12.0.0',
  axios: '^1.8.0',
  'reflect-metadata': '^0.2.2',
  rxjs: '^7.8.1',
  'service-token-kit': KIT,
};

const PROJECTS = {
  'NestJS 11, CommonJS, ts-jest, TypeScript 5 node10, node16, nodenext, bundler': async (
    project,
  ) => {
    project.write('package.json', {
      ...NEST_11,
      private: true,
      jest: {
        moduleFileExtensions: ['js', 'json', 'ts'],
        rootDir: 'src',
        testRegex: '.*\\.spec\\.ts$',
        transform: { '^.+\\.(t|j)s$': 'ts-jest' },
        testEnvironment: 'node',
      },
    });
    // The way of resolving that `module: commonjs` has by itself is node10.
    project.write('tsconfig.json', {
      compilerOptions: { ...COMPILER, module: 'commonjs', esModuleInterop: true },
    });
    project.copy('kit.spec.ts', 'src/kit.spec.ts');
    project.copy('types.ts', 'src/types.ts');
    project.copy('deep.ts', 'deep/deep.ts');
    await project.install();
    await project.run('npx --no-install jest');
    await project.compiles('node10', { module: 'commonjs', moduleResolution: 'node10' });
    await project.compiles('node16', { module: 'node16', moduleResolution: 'node16' });
    await project.compiles('nodenext', { module: 'nodenext', moduleResolution: 'nodenext' });
    await project.compiles('bundler', { module: 'esnext', moduleResolution: 'bundler' });
    await project.refusesDeepImports('node16');
    await project.refusesDeepImports('bundler');
  },
  'NestJS 12, ES modules, jest, TypeScript 7 node16, nodenext, bundler': async (project) => {
    project.write('package.json', {
      private: true,
      type: 'module',
      dependencies: NEST_12,
      devDependencies: {
        '@swc/core': '^1.10.7',
        '@swc/jest': '^0.2.39',
        '@types/jest': '^30.0.0',
        '@types/node': '^24.0.0',
        jest: '^30.0.0',
        typescript: '^7.0.2',
      },
      jest: {
        testEnvironment: 'node',
        testRegex: '.*\\.spec\\.ts$',
        extensionsToTreatAsEsm: ['.ts'],
        transform: { '^.+\\.ts$': '@swc/jest' },
      },
    });
    project.write('.swcrc', {
      module: { type: 'es6' },
      jsc: {
        target: 'es2022',
        parser: { syntax: 'typescript', decorators: true },
        transform: { legacyDecorator: true, decoratorMetadata: true },
      },
    });
    project.write('tsconfig.json', { compilerOptions: { ...COMPILER, module: 'nodenext' } });
    project.copy('kit.spec.ts', 'src/kit.spec.ts');
    project.copy('types.ts', 'src/types.ts');
    project.copy('deep.ts', 'deep/deep.ts');
    await project.install();
    await project.run(
      `${process.execPath} --experimental-vm-modules node_modules/jest/bin/jest.js`,
    );
    // Here with the types of the packages checked as well.
    await project.compiles('node16', { module: 'node16', moduleResolution: 'node16' });
    await project.compiles('nodenext', { module: 'nodenext', moduleResolution: 'nodenext' });
    await project.compiles('bundler', { module: 'esnext', moduleResolution: 'bundler' });
    await project.refusesDeepImports('nodenext');
  },
  'NestJS 12, vitest': async (project) => {
    project.write('package.json', {
      private: true,
      type: 'module',
      dependencies: NEST_12,
      devDependencies: { vitest: '^4.0.0' },
    });
    project.write('vitest.config.js', `export default { test: { globals: true } };\n`);
    project.write('tsconfig.json', { compilerOptions: { ...COMPILER, module: 'nodenext' } });
    project.copy('kit.spec.ts', 'src/kit.spec.ts');
    await project.install();
    await project.run('npx --no-install vitest run');
  },
  'no NestJS, types checked whole': async (project) => {
    project.write('package.json', {
      private: true,
      dependencies: { 'service-token-kit': KIT },
      devDependencies: { '@types/node': '^24.0.0', typescript: '^5.7.3' },
    });
    const text = `
      import { createTokenVerifier } from 'service-token-kit';
      import { createAuthorizedFetch } from 'service-token-kit/client';
      import { createOfflineTestIssuer } from 'service-token-kit/testing';
      export const used = [createTokenVerifier, createAuthorizedFetch, createOfflineTestIssuer];`;
    project.write('src/one.ts', text);
    project.write('src/two.mts', text);
    const compilerOptions = { ...COMPILER, types: ['node'], skipLibCheck: false };
    project.write('tsconfig.json', { compilerOptions });
    await project.install();
    await project.compiles(
      'node10',
      { module: 'commonjs', moduleResolution: 'node10' },
      'src/one.ts',
    );
    await project.compiles('node16', { module: 'node16', moduleResolution: 'node16' });
    await project.compiles('nodenext', { module: 'nodenext', moduleResolution: 'nodenext' });
    await project.compiles('bundler', { module: 'esnext', moduleResolution: 'bundler' });
  },
  ...Object.fromEntries(
    [
      ['4', '4', '^4.17.21'],
      ['5', '5', '^5.0.0'],
    ].map(([express, fastify, types]) => [
      `Express ${express} and Fastify ${fastify} without NestJS`,
      async (project) => {
        project.write('package.json', {
          private: true,
          type: 'module',
          dependencies: {
            express: `^${express}.0.0`,
            fastify: `^${fastify}.0.0`,
            'service-token-kit': KIT,
          },
          devDependencies: {
            '@types/express': types,
            '@types/node': '^24.0.0',
            typescript: '^5.7.3',
          },
        });
        project.write('tsconfig.json', {
          compilerOptions: { ...COMPILER, types: ['node'], esModuleInterop: true },
        });
        project.copy('http-guards.ts', 'src/http-guards.ts');
        await project.install();
        await project.compiles('node16', { module: 'node16', moduleResolution: 'node16' });
        await project.compiles('bundler', { module: 'esnext', moduleResolution: 'bundler' });
        await project.compiles('nodenext', {
          module: 'nodenext',
          moduleResolution: 'nodenext',
          noEmit: false,
        });
        await project.run(`${process.execPath} dist/http-guards.js`);
      },
    ]),
  ),
  'the broker, with npx in an empty folder': async (project) => {
    // npx takes an absolute path for a program.
    project.copy(BROKER, 'broker.tgz');
    await project.serves('npx --yes ./broker.tgz dev');
  },
  'the broker, installed': async (project) => {
    project.write('package.json', { private: true });
    await project.run(`npm install --no-audit --no-fund ${BROKER}`);
    await project.run('npx --no-install service-token-broker --version');
    await project.serves('npx --no-install service-token-broker dev');
  },
  'are the types wrong?': async (project) => {
    const attw = 'npx --yes --package=@arethetypeswrong/cli@0.18.5 attw';
    await project.run(`${attw} ${KIT}`);
    // The broker is an ES module, as NestJS 12 is: it is for applications that are one.
    await project.run(`${attw} ${BROKER} --ignore-rules cjs-resolves-to-esm`);
  },
};

class Project {
  #folder;

  constructor(folder) {
    this.#folder = folder;
    mkdirSync(folder, { recursive: true });
  }

  write(file, content) {
    const path = join(this.#folder, file);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content, null, 2));
  }

  copy(file, to) {
    mkdirSync(dirname(join(this.#folder, to)), { recursive: true });
    cpSync(resolve(here, file), join(this.#folder, to));
  }

  /** Strictly: with a peer in a version that does not fit, npm refuses. */
  install() {
    return this.run('npm install --no-audit --no-fund --strict-peer-deps');
  }

  async compiles(name, options, ...files) {
    const { compilerOptions } = JSON.parse(
      readFileSync(join(this.#folder, 'tsconfig.json'), 'utf8'),
    );
    this.write(`tsconfig.${name}.json`, {
      compilerOptions: { ...compilerOptions, module: undefined, noEmit: true, ...options },
      ...(files.length > 0 ? { files } : { include: ['src'] }),
    });
    await this.run(`npx --no-install tsc -p tsconfig.${name}.json`);
  }

  async refusesDeepImports(name) {
    const options = JSON.parse(readFileSync(join(this.#folder, `tsconfig.${name}.json`), 'utf8'));
    this.write('tsconfig.deep.json', { ...options, include: ['deep'] });
    const { code, output } = await execute(
      'npx --no-install tsc -p tsconfig.deep.json',
      this.#folder,
    );
    if (code === 0 || !/TS(?:2307|2882)\b/.test(output)) {
      throw new Error(`A deep import compiles with ${name}:\n${output}`);
    }
  }

  async run(command) {
    const { code, output } = await execute(command, this.#folder);
    if (code !== 0) throw new Error(`${command} ended with ${code}:\n${output}`);
  }

  /** Starts the broker in dev mode, asks it whether it is ready, and ends it. */
  async serves(command) {
    const child = start(command, this.#folder, { PORT: '0', BROKER_DEV_PROVIDER_PORT: '0' });
    try {
      const url = await new Promise((resolve, reject) => {
        child.onOutput = (output) => {
          const [, found] = /^The broker is ready at (\S+?),/m.exec(output) ?? [];
          if (found !== undefined) resolve(found);
        };
        void child.ended.then(({ code, output }) =>
          reject(new Error(`${command} ended with ${code}:\n${output}`)),
        );
      });
      const { status } = await fetch(`${url}/health/ready`);
      if (status !== 200) throw new Error(`${url}/health/ready answers ${status}`);
    } finally {
      child.kill();
      await child.ended;
    }
  }
}

/** Starts a command in a process group of its own, as npx starts further processes. */
function start(command, cwd, env = {}) {
  const [program, ...args] = command.split(' ');
  const child = spawn(program, args, {
    cwd,
    env: { ...process.env, CI: 'true', NODE_OPTIONS: '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const started = {
    onOutput: () => undefined,
    kill: () => {
      try {
        process.kill(-child.pid, 'SIGTERM');
      } catch {
        // It has ended.
      }
    },
  };
  const deadline = setTimeout(() => started.kill(), PATIENCE);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
      started.onOutput(output);
    });
  }
  started.ended = once(child, 'close').then(([code, signal]) => {
    clearTimeout(deadline);
    return { code: code ?? signal, output };
  });
  return started;
}

function execute(command, cwd) {
  return start(command, cwd).ended;
}

function tarball(name) {
  const file = readdirSync(packages).find((one) => new RegExp(`^${name}-\\d.*\\.tgz$`).test(one));
  if (file === undefined) throw new Error(`dist-packages has no ${name}: run "npm run pack:all".`);
  // A copy, which stays as it is whatever is built meanwhile.
  cpSync(join(packages, file), join(work, file));
  return join(work, file);
}

const wanted = process.argv.slice(2);
const names = Object.keys(PROJECTS).filter(
  (name) => wanted.length === 0 || wanted.some((word) => name.includes(word)),
);
let failed = 0;
for (const [index, name] of names.entries()) {
  const startedAt = performance.now();
  try {
    await PROJECTS[name](new Project(join(work, String(index))));
    console.log(`ok    ${name} (${Math.round((performance.now() - startedAt) / 1000)} s)`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${name}\n${error.message}`);
  }
}
rmSync(work, { recursive: true, force: true });
console.log(`${names.length - failed} passed, ${failed} failed`);
process.exitCode = failed === 0 && names.length > 0 ? 0 : 1;
