import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { importJWK, jwtVerify } from 'jose';
import { forked } from './forked.js';
import { underLoad } from './load.js';
import { inTurn } from './rounds.js';
import { fetchAnswer, requireSameShape } from './same-answer.js';
import { setScene } from './scene.js';
import { startBroker } from './server-process.js';
import { pairedRatio, spread } from './statistics.js';
import { megabytes, microseconds, milliseconds, number, ratio, withSpread } from './table.js';
import { descriptors, watchMemory } from './usage.js';
import { chunksInTurn } from './verification.js';
import { createIssuer } from './verification-tokens.js';

const US = 'https://broker.example.test';
const ISSUER = 'https://cluster.example.test';
const SUBJECT = 'system:serviceaccount:shop:orders';
const LIFE_SECONDS = 3_600;
const COLD_TOKENS = 2_000;

const LEAST_SEEN = 0.9;
const MOST_FIRST = 1.2;
const LEAST_AUTHORIZE = 0.8;

const MANY_PEERS = 10_000;
const PEERS_OF_A_SECRET = 400;
/** What two processes of the same build differ by on a shared machine. */
const MOST_OF_LOGIN = 1.1;

const WAITERS = 5_000;
const MOST_TO_REACH = 2_000;
const MOST_WAITING_MEMORY = 300 * 1024 * 1024;
/** Descriptors that the broker and the waiting process have besides. */
const FEW = 100;

/** Peers by their identities, and many of them; and gateways. */
export async function measurePeers(build, flags, tell) {
  return [
    ...(await identityRows(build, flags, tell)),
    await firstTokenRow(build, flags, tell),
    ...(await manyPeersRows(build, flags, tell)),
    ...(await waitingRows(build, flags, tell)),
  ];
}

/** An issuer of workload tokens, whose keys are where the broker fetches them. */
async function startCluster() {
  const issuer = createIssuer('RS256', workloadClaims, 'JWT');
  const server = createServer((request, response) => response.end(JSON.stringify(issuer.jwks)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    ...issuer,
    jwksUri: `http://127.0.0.1:${server.address().port}/jwks`,
    close: () => server.close(),
  };
}

function workloadClaims() {
  const now = Math.floor(Date.now() / 1000);
  return {
    iss: ISSUER,
    sub: SUBJECT,
    aud: [US],
    iat: now,
    nbf: now,
    exp: now + LIFE_SECONDS,
    jti: randomUUID(),
    'kubernetes.io': {
      namespace: 'shop',
      pod: { name: 'orders-7d9', uid: randomUUID() },
      serviceaccount: { name: 'orders', uid: randomUUID() },
    },
  };
}

/** One broker, asked with a secret, with a workload token, and by a gateway. */
async function identityRows(build, flags, tell) {
  const cluster = await startCluster();
  const scene = await setScene(build);
  const generator = forked('./load-generator.js');
  let broker;
  try {
    const file = join(scene.folder, 'broker.yaml');
    const sections = {
      trusted_issuers: {
        cluster: { kind: 'kubernetes', issuer: ISSUER, jwks_uri: cluster.jwksUri, audience: US },
      },
      peers: {
        orders: { identities: [{ issuer: 'cluster', subject: SUBJECT }], tokens: ['default'] },
      },
    };
    await writeFile(file, JSON.stringify(sections));
    const env = { ...scene.env, BROKER_CONFIG: file, BROKER_AUTHORIZE: 'true' };
    broker = await startBroker(build, 'serve', env, join(scene.folder, 'serve.log'));
    const { url, pid } = broker;
    const basic = scene.authorization;
    const bearer = `Bearer ${cluster.tokens(1)[0].toString()}`;
    const served = await fetchAnswer(`${url}/v1/token`, basic);
    const customer = `Bearer ${JSON.parse(served.body).access_token}`;
    const named = `${url}/v1/tokens/default`;
    const asked = {
      token: { url: `${url}/v1/token`, authorization: basic },
      secret: { url: named, authorization: basic },
      workload: { url: named, authorization: bearer },
      gateway: { url: `${url}/v1/authorize?allow=service`, authorization: customer },
    };
    const rounds = Object.fromEntries(Object.keys(asked).map((name) => [name, []]));
    for (const each of Object.values(asked)) {
      const answer = await fetchAnswer(each.url, each.authorization);
      if (answer.status !== 200) throw new Error(`${each.url} answers ${answer.status}.`);
    }
    requireSameShape(await fetchAnswer(named, basic), await fetchAnswer(named, bearer));
    const load = ({ url: at, authorization }, seconds) =>
      underLoad(
        generator,
        { url: at, pid },
        { headers: { authorization }, connections: flags.connections, seconds },
      );
    for (const each of Object.values(asked)) await load(each, flags.warmUp);
    await inTurn(Object.keys(asked), flags.rounds, async (name, round) => {
      const measured = await load(asked[name], flags.seconds);
      rounds[name].push(measured.perSecond);
      tell(`peers: round ${round + 1} of ${flags.rounds}, ${name}: ${number(measured.perSecond)}`);
    });
    const row = (name, own, reference, least) => {
      const quotient = pairedRatio(rounds[own], rounds[reference]);
      return {
        name,
        measured: withSpread(spread(rounds[own]), number),
        reference: withSpread(spread(rounds[reference]), number),
        ratio: ratio(quotient),
        target: `at least ${least} times`,
        met: quotient >= least,
      };
    };
    return [
      row(
        'by a workload token seen before, and by a secret, per second',
        'workload',
        'secret',
        LEAST_SEEN,
      ),
      row('GET /v1/authorize, and GET /v1/token, per second', 'gateway', 'token', LEAST_AUTHORIZE),
    ];
  } finally {
    await broker?.stop();
    await generator.stop();
    cluster.close();
    await scene.close();
  }
}

/** A workload token that was not seen before: verified, its peer found; beside jose's verification alone. */
async function firstTokenRow(build, flags, tell) {
  const [{ WorkloadTokens }, { createStaticKeySet }, { systemClock }] = await Promise.all(
    ['peers/workload-tokens.js', 'verification/index.js', 'tokens/time.js'].map(build.load),
  );
  const issuer = createIssuer('RS256', workloadClaims, 'JWT');
  const tokens = issuer.tokens(COLD_TOKENS);
  const key = await importJWK(issuer.jwks.keys[0], 'RS256');
  const options = {
    issuers: [
      {
        name: 'cluster',
        kind: 'kubernetes',
        issuer: ISSUER,
        audience: US,
        algorithms: ['RS256'],
        maxLifetimeSeconds: LIFE_SECONDS,
        singleUse: false,
      },
    ],
    peers: [
      {
        id: 'orders',
        identities: [{ issuer: 'cluster', subject: SUBJECT }],
        tokens: ['default'],
        roles: ['token'],
        enabled: true,
      },
    ],
    keysOf: () => createStaticKeySet(issuer.jwks),
    clock: systemClock,
    clockSkewSeconds: 60,
  };
  const checks = {
    issuer: ISSUER,
    audience: US,
    algorithms: ['RS256'],
    maxTokenAge: LIFE_SECONDS,
    clockTolerance: 60,
    requiredClaims: ['exp', 'sub', 'iat'],
  };
  const contenders = [
    async () => {
      const workloadTokens = new WorkloadTokens(options);
      return async (token) => {
        const { ok } = await workloadTokens.authenticate(token);
        if (!ok) throw new Error('A workload token was refused.');
      };
    },
    async () => (token) => jwtVerify(token, key, checks),
  ];
  await chunksInTurn(contenders, tokens, 1, 0);
  const measured = [];
  for (let round = 0; round < flags.rounds; round += 1) {
    measured.push(await chunksInTurn(contenders, tokens, 1, round));
  }
  tell(`peers: first workload tokens, ${flags.rounds} rounds`);
  const [own, reference] = contenders.map((_, index) => measured.map((each) => each[index]));
  const quotient = pairedRatio(own, reference);
  return {
    name: "a workload token for the first time, and jose's jwtVerify",
    measured: withSpread(spread(own), microseconds),
    reference: withSpread(spread(reference), microseconds),
    ratio: ratio(quotient),
    target: `at most ${MOST_FIRST} times`,
    met: quotient <= MOST_FIRST,
  };
}

/** Two brokers that differ by their list of peers alone: the one of the bench, or ten thousand besides. */
async function manyPeersRows(build, flags, tell) {
  const scenes = {
    few: await setScene(build),
    many: await setScene(build, peersSettings(MANY_PEERS)),
  };
  const generator = forked('./load-generator.js');
  const brokers = {};
  const rounds = { few: [], many: [] };
  try {
    await addManyPeers(build, scenes.many, MANY_PEERS);
    for (const [name, { env, folder }] of Object.entries(scenes)) {
      brokers[name] = await startBroker(build, 'serve', env, join(folder, 'serve.log'));
    }
    const load = (name, seconds) =>
      underLoad(
        generator,
        { url: `${brokers[name].url}/v1/token`, pid: brokers[name].pid },
        {
          headers: { authorization: scenes[name].authorization },
          connections: flags.connections,
          seconds,
        },
      );
    for (const name of Object.keys(brokers)) await load(name, flags.warmUp);
    await inTurn(Object.keys(brokers), flags.rounds, async (name, round) => {
      const measured = await load(name, flags.seconds);
      rounds[name].push(measured);
      tell(
        `peers: round ${round + 1} of ${flags.rounds}, ${name} peers: ${number(measured.perSecond)}`,
      );
    });
  } finally {
    await Promise.all(Object.values(brokers).map((broker) => broker.stop()));
    await generator.stop();
    await Promise.all(Object.values(scenes).map((scene) => scene.close()));
  }
  const row = (name, figure, format, most) => {
    const [own, reference] = ['many', 'few'].map((which) =>
      rounds[which].map((round) => round[figure]),
    );
    if ([...own, ...reference].includes(undefined)) {
      return { name, measured: 'SKIPPED: not told here' };
    }
    const quotient = pairedRatio(own, reference);
    return {
      name,
      measured: withSpread(spread(own), format),
      reference: withSpread(spread(reference), format),
      ratio: ratio(quotient),
      ...(most !== undefined && { target: `at most ${most} times`, met: quotient <= most }),
    };
  };
  const among = `${number(MANY_PEERS)} peers, and one`;
  return [
    row(`processor time of a request, ${among}`, 'processor', microseconds, MOST_OF_LOGIN),
    row(`memory of serve under load, ${among}`, 'resident', megabytes),
  ];
}

/** The settings of a broker with so many peers besides the one of the bench. */
export function peersSettings(count) {
  const ids = peersSecretIds(count);
  return { BROKER_PEERS_SECRET_ID: ['service-token-broker/peers', ...ids].join(',') };
}

function peersSecretIds(count) {
  return Array.from(
    { length: Math.ceil(count / PEERS_OF_A_SECRET) },
    (_, at) => `service-token-broker/peers-${at + 1}`,
  );
}

/** As `peers add` writes them, a secret at a time. */
export async function addManyPeers(build, { env }, count) {
  const [{ loadConfig }, { openStore }, { systemClock }] = await Promise.all(
    ['config/load-config.js', 'composition/open-store.js', 'tokens/time.js'].map(build.load),
  );
  const config = loadConfig({ env });
  const store = await openStore(config, systemClock);
  try {
    const { value } = await store.read(config.secrets.peersSecretId);
    const document = JSON.parse(value);
    const [entry] = Object.values(document.peers);
    for (const [at, secretId] of peersSecretIds(count).entries()) {
      const first = at * PEERS_OF_A_SECRET;
      const length = Math.min(PEERS_OF_A_SECRET, count - first);
      const peers = Array.from({ length }, (_, index) => [
        `peer-${first + index}`,
        {
          ...entry,
          secret_sha256: createHash('sha256').update(randomBytes(32)).digest('base64url'),
        },
      ]);
      const versionId = randomUUID();
      await store.create(secretId, 'Peers of the bench');
      const text = JSON.stringify({ ...document, peers: Object.fromEntries(peers) });
      await store.putPending(secretId, versionId, text);
      await store.promote(secretId, versionId, undefined);
      await store.clearPending(secretId, versionId);
    }
  } finally {
    await store.close();
  }
}

/** Peers that wait with `Prefer: wait`, and a rotation by one of them. */
async function waitingRows(build, flags, tell) {
  const name = `${number(WAITERS)} waiting peers, from the rotation to the last answer`;
  const memory = `memory of serve with ${number(WAITERS)} waiting peers`;
  const limit = await descriptors();
  if (limit === undefined || limit < WAITERS * 1.25 + FEW) {
    return [name, memory].map((each) => ({
      name: each,
      measured: `SKIPPED: ${limit ?? 'unknown'} descriptors (ulimit -n)`,
    }));
  }
  const scene = await setScene(build, {
    BROKER_MAX_CONNECTIONS: String(WAITERS * 1.5),
    // As in a container of 256 MiB to 384 MiB. On a large machine V8 would collect what is over only much later.
    NODE_OPTIONS: '--max-old-space-size=192',
  });
  const waiting = forked('./waiting-peers.js');
  let broker;
  const reached = [];
  const resident = [];
  try {
    const authorization = await admin(build, scene);
    broker = await startBroker(build, 'serve', scene.env, join(scene.folder, 'serve.log'));
    for (let round = 0; round < flags.starts; round += 1) {
      const watch = watchMemory(broker.pid);
      const measured = await waiting.ask({ url: broker.url, authorization, count: WAITERS });
      reached.push(measured.milliseconds);
      resident.push(await watch.stop());
      tell(
        `peers: ${number(WAITERS)} waiting, ${round + 1} of ${flags.starts}: ${milliseconds(measured.milliseconds)}`,
      );
    }
  } finally {
    await broker?.stop();
    await waiting.stop();
    await scene.close();
  }
  return [
    {
      name,
      measured: withSpread(spread(reached), milliseconds),
      target: `under ${MOST_TO_REACH / 1000} s`,
      met: spread(reached).median < MOST_TO_REACH,
    },
    {
      name: memory,
      measured: withSpread(spread(resident), megabytes),
      target: `under ${megabytes(MOST_WAITING_MEMORY)}`,
      met: spread(resident).median < MOST_WAITING_MEMORY,
    },
  ];
}

/** A peer that may rotate, too. */
async function admin(build, { env }) {
  const [{ loadConfig }, { openStore }, { systemClock }, { addPeer }] = await Promise.all(
    [
      'config/load-config.js',
      'composition/open-store.js',
      'tokens/time.js',
      'peers/peer-admin.js',
    ].map(build.load),
  );
  const config = loadConfig({ env });
  const store = await openStore(config, systemClock);
  try {
    const { peersSecretId: secretId } = config.secrets;
    const peer = await addPeer({ store, secretId, clock: systemClock }, 'admin', [
      'token',
      'admin',
    ]);
    return `Basic ${Buffer.from(`${peer.id}:${peer.secret}`).toString('base64')}`;
  } finally {
    await store.close();
  }
}
