// One real process of the check: a provider, a broker or a service, by what the parent process orders.
import { createWriteStream } from 'node:fs';
import { openBuild } from '../../build.js';
import { API_CALLS } from '../cloud.js';
import { isWithin } from '../company.js';

const counts = { storeCalls: {}, mints: 0, calls: 0, without: 0 };

const ROLES = {
  async provider(build, { options, down }) {
    const { startEmbeddedProvider } = await build.load('dev/embedded-provider.js');
    const { issuer } = await startEmbeddedProvider({
      ...options,
      onMint: () => {
        if (isWithin(down, Date.now())) throw new Error('The provider is down.');
        counts.mints += 1;
      },
      onServerError: (error) => {
        if (!isWithin(down, Date.now())) process.emitWarning(error);
      },
    });
    return { issuer };
  },

  async broker(build, { env }) {
    const [
      { loadConfig },
      { openStore },
      { createRuntime },
      { serveHttp },
      { createLogger },
      time,
    ] = await Promise.all(
      [
        'config/load-config.js',
        'composition/open-store.js',
        'composition/runtime.js',
        'composition/http-server.js',
        'operations/log.js',
        'tokens/time.js',
      ].map(build.load),
    );
    const config = loadConfig({ env });
    const store = countCalls(await openStore(config, time.systemClock));
    const log = createLogger({ level: 'error', destination: createWriteStream('/dev/null') });
    const { url } = await serveHttp(await createRuntime(config, { store, log }));
    return { url };
  },

  async service(build, { brokers, peer, everyMilliseconds }) {
    const { createServiceTokenClient } = await build.load('client/index.js');
    const tokens = createServiceTokenClient({ brokers, peer });
    setInterval(() => {
      counts.calls += 1;
      tokens.getToken().catch(() => (counts.without += 1));
    }, everyMilliseconds);
    return {};
  },
};

/** Counts what each call would be at Secrets Manager. */
function countCalls(store) {
  const count = (calls) => {
    for (const [name, number] of Object.entries(calls)) {
      counts.storeCalls[name] = (counts.storeCalls[name] ?? 0) + number;
    }
  };
  return new Proxy(store, {
    get: (target, name) => {
      const found = target[name];
      if (typeof found !== 'function') return found;
      if (API_CALLS[name] === undefined) return found.bind(target);
      return async (...given) => {
        try {
          const result = await found.apply(target, given);
          count(API_CALLS[name]);
          return result;
        } catch (error) {
          const isNothing = name === 'read' && error.code === 'VERSION_NOT_FOUND';
          count(API_CALLS[isNothing ? 'readNothing' : name]);
          throw error;
        }
      };
    },
  });
}

const advance = globalThis[Symbol.for('simulation.advance')];

process.on('message', ({ role, dist, order, until, ...rest }) => {
  if (until !== undefined) void advance(until).then(() => process.send({ advanced: until }));
  else if (role !== undefined) {
    ROLES[role](openBuild(dist), rest).then(
      (started) => process.send({ started }),
      (error) => process.send({ failed: error.stack }),
    );
  } else if (order === 'counts') process.send({ counts });
  else if (order === 'reset') {
    Object.assign(counts, { storeCalls: {}, mints: 0, calls: 0, without: 0 });
    process.send({ counts });
  }
});
