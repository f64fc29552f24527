// What reads and rotates a token on AWS talks to: Secrets Manager's protocol over a store in memory, and the embedded
// provider. Started by `fork`; it is sent { order: 'start', dist, dataDir } first, and then the other orders.
import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { openBuild } from './build.js';

const CREDENTIALS = 'bench/credentials';
const TOKEN = 'bench/token';
const AUDIENCE = 'https://services.example.test';
const CLIENT = { clientId: 'bench', clientSecret: 'the-secret-of-the-bench' };

let store;
let issuer;

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
  ({ issuer } = provider);
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
      BROKER_ISSUER: issuer,
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
      ARN: `arn:aws:secretsmanager:eu-central-1:123456789012:secret:${SecretId}-bench1`,
      Name: SecretId,
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

/** The request by which a service mints for itself. */
function mintRequest() {
  const login = Buffer.from(`${CLIENT.clientId}:${CLIENT.clientSecret}`).toString('base64');
  return {
    url: `${issuer}/token`,
    method: 'POST',
    headers: {
      authorization: `Basic ${login}`,
      'content-type': 'application/x-www-form-urlencoded',
    },
    body: String(new URLSearchParams({ grant_type: 'client_credentials', resource: AUDIENCE })),
  };
}

const ORDERS = {
  start,
  mintRequest: async () => mintRequest(),
  /** Makes the token secret hold a token, as after a rotation. */
  fill: async () => {
    const { url, ...request } = mintRequest();
    const response = await fetch(url, request);
    if (response.status !== 200) throw new Error(`The provider answers ${response.status}.`);
    const { access_token, token_type, expires_in } = await response.json();
    const now = Date.now();
    const document = {
      access_token,
      token_type,
      expires_at: new Date(now + expires_in * 1000).toISOString(),
      generated_at: new Date(now).toISOString(),
      issuer,
      audience: AUDIENCE,
    };
    store.seed(TOKEN, JSON.stringify(document));
    return { token: access_token };
  },
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
