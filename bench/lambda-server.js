// What a rotation function talks to: Secrets Manager's protocol over a store in memory, and the embedded provider.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { openBuild } from './build.js';

const CREDENTIALS = 'bench/credentials';
const TOKEN = 'bench/token';
const AUDIENCE = 'https://services.example.test';
const CLIENT = { clientId: 'bench', clientSecret: 'the-secret-of-the-bench' };

let store;

async function start({ dist, dataDir }) {
  const build = openBuild(dist);
  const [{ MemorySecretStore }, { startEmbeddedProvider }] = await Promise.all([
    build.load('testing/memory-secret-store.js'),
    build.load('dev/embedded-provider.js'),
  ]);
  const provider = await startEmbeddedProvider({
    ...CLIENT,
    port: 0,
    dataDir,
    audience: AUDIENCE,
    accessTokenTtlSeconds: 90_000,
  });
  store = new MemorySecretStore({ pendingStaysAfterPromote: false });
  const { clientId: client_id, clientSecret: client_secret } = CLIENT;
  store.seed(CREDENTIALS, JSON.stringify({ client_id, client_secret }));
  store.seed(TOKEN, '{}');
  store.configure(TOKEN, { rotationEnabled: true });
  const server = createServer((request, response) => void answer(request, response));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    secretId: TOKEN,
    env: {
      AWS_ENDPOINT_URL_SECRETS_MANAGER: `http://127.0.0.1:${server.address().port}`,
      AWS_REGION: 'eu-central-1',
      AWS_ACCESS_KEY_ID: 'bench',
      AWS_SECRET_ACCESS_KEY: 'bench',
      BROKER_ISSUER: provider.issuer,
      BROKER_AUDIENCE: AUDIENCE,
      BROKER_CREDENTIALS_SECRET_ID: CREDENTIALS,
      BROKER_TOKEN_SECRET_ID: TOKEN,
    },
  };
}

/** The calls of the rotation function, as Secrets Manager answers them. */
const CALLS = {
  DescribeSecret: async ({ SecretId }) => {
    const { labels, rotationEnabled } = await store.describe(SecretId);
    return { RotationEnabled: rotationEnabled, VersionIdsToStages: Object.fromEntries(labels) };
  },
  GetSecretValue: async ({ SecretId, VersionId: versionId, VersionStage: label }) => {
    const found = await store.read(SecretId, { versionId, label });
    return {
      VersionId: found.versionId,
      CreatedDate: found.createdAt / 1000,
      VersionStages: found.labels,
      SecretString: found.value,
    };
  },
  PutSecretValue: async ({ SecretId, ClientRequestToken, SecretString }) => {
    await store.putPending(SecretId, ClientRequestToken, SecretString);
    return {};
  },
  UpdateSecretVersionStage: async ({ SecretId, MoveToVersionId, RemoveFromVersionId }) => {
    await store.promote(SecretId, MoveToVersionId, RemoveFromVersionId);
    return {};
  },
};

async function answer(request, response) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  const call = CALLS[String(request.headers['x-amz-target']).split('.')[1]];
  const send = (status, body) => {
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' });
    response.end(JSON.stringify(body));
  };
  try {
    send(200, await call(JSON.parse(Buffer.concat(chunks).toString())));
  } catch (error) {
    send(400, { __type: 'ResourceNotFoundException', Message: error.message });
  }
}

const ORDERS = {
  start,
  /** RotateSecret registers the version before there is a value. */
  register: async () => {
    const versionId = randomUUID();
    store.registerPending(TOKEN, versionId);
    return { versionId };
  },
  current: async () => ({ versionId: (await store.read(TOKEN)).versionId }),
};

process.on('message', ({ order, ...rest }) => {
  ORDERS[order](rest).then(
    (answer) => process.send(answer),
    (error) => process.send({ error: error.stack }),
  );
});
