/** What stands in the package.json of both packages as it stands in the repository's. */
const SHARED = ['version', 'license', 'author', 'homepage', 'repository', 'bugs', 'engines'];

/** The broker: its command, and the doors for applications. */
export const BROKER = {
  name: 'service-token-broker',
  entries: ['cli.ts', 'config-reader.ts', 'lambda.ts', 'main.ts', 'server.ts'],
};

/** What services import. */
export const KIT = {
  name: 'service-token-kit',
  entries: [
    'client/index.ts',
    'client/nest/index.ts',
    'guard/express/index.ts',
    'guard/fastify/index.ts',
    'guard/index.ts',
    'guard/swagger/index.ts',
    'index.ts',
    'testing/index.ts',
  ],
};

/** What an application registers its OpenTelemetry SDK with. Neither package loads it. */
const TRACES = { '@opentelemetry/api': '^1.3.0' };

/** Wide: npm refuses to install next to a version that is not among them, also when the peer is optional. */
const KIT_PEERS = {
  ...TRACES,
  '@nestjs/axios': '^4.0.0 || ^12.0.0',
  '@nestjs/common': '^11.0.0 || ^12.0.0',
  '@nestjs/core': '^11.0.0 || ^12.0.0',
  axios: '>=1.7.0',
  // For types alone; its plugin says which versions it works with.
  fastify: '*',
  rxjs: '^7.1.0',
};

/** @param shared the repository's package.json. */
export function brokerManifest(shared) {
  const door = (name) => ({ types: `./types/${name}.d.ts`, default: `./dist/${name}.js` });
  return {
    name: BROKER.name,
    description: shared.description,
    keywords: shared.keywords,
    ...pick(shared, SHARED),
    type: 'module',
    sideEffects: false,
    bin: { 'service-token-broker': 'dist/cli.js' },
    exports: {
      './server': door('server'),
      './lambda': door('lambda'),
      './openapi.json': './openapi.json',
      './package.json': './package.json',
    },
    typesVersions: {
      '*': { server: ['./types/server.d.ts'], lambda: ['./types/lambda.d.ts'] },
    },
    files: ['dist', 'types', 'src', 'openapi.json', 'docs', 'CHANGELOG.md'],
    dependencies: shared.dependencies,
    ...optionalPeers(TRACES),
  };
}

/** @param shared the repository's package.json. */
export function kitManifest(shared) {
  const paths = Object.fromEntries(
    KIT.entries.map((entry) => [entry.replace(/\/?index\.ts$/, ''), entry.replace(/\.ts$/, '')]),
  );
  const door = (file) => ({
    import: { types: `./esm/${file}.d.ts`, default: `./esm/${file}.js` },
    require: { types: `./cjs/${file}.d.ts`, default: `./cjs/${file}.js` },
  });
  const subpaths = Object.entries(paths);
  return {
    name: KIT.name,
    description:
      'For services: a NestJS guard that tells customer and service tokens apart, a client that attaches the right token, a JWT verifier and a test kit',
    keywords: [
      'jwt',
      'nestjs',
      'guard',
      'axios',
      'fetch',
      'oauth2',
      'service-to-service',
      'testing',
    ],
    ...pick(shared, SHARED),
    type: 'module',
    sideEffects: false,
    main: './cjs/index.js',
    types: './cjs/index.d.ts',
    exports: {
      ...Object.fromEntries(
        subpaths.map(([path, file]) => [path === '' ? '.' : `./${path}`, door(file)]),
      ),
      './package.json': './package.json',
    },
    typesVersions: {
      '*': Object.fromEntries(
        subpaths
          .filter(([path]) => path !== '')
          .map(([path, file]) => [path, [`./cjs/${file}.d.ts`]]),
      ),
    },
    files: ['cjs', 'esm', 'src', 'CHANGELOG.md'],
    dependencies: pick(shared.dependencies, ['jose']),
    ...optionalPeers(KIT_PEERS),
  };
}

function optionalPeers(peers) {
  const optional = Object.keys(peers).map((name) => [name, { optional: true }]);
  return { peerDependencies: peers, peerDependenciesMeta: Object.fromEntries(optional) };
}

function pick(object, names) {
  return Object.fromEntries(names.map((name) => [name, object[name]]));
}
