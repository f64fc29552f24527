import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startCluster, type Cluster } from './cluster.js';
import { runBrokerCommand, runJob, startBroker, startService, stopAll } from './processes.js';
import { say } from './say.js';

// A broker, two services and a job, each in a process of its own, and one customer. With --secretless the services hold no
// secret: they prove who they are to the broker with the tokens of a cluster.

const AUDIENCE = 'https://services.example.test';
const dataDir = await mkdtemp(join(tmpdir(), 'mesh-'));
const fileOf = (peer: string): string => join(dataDir, `${peer}-peer.json`);
const tokenFileOf = (peer: string): string => join(dataDir, `${peer}-token`);
const cluster = process.argv.includes('--secretless') ? await startCluster() : undefined;
/** What the cluster's tokens are for: the broker, and nobody else. */
const BROKER_AUDIENCE = 'https://broker.mesh.test';
const PEERS = ['orders', 'nightly-job'];

try {
  const brokerSettings = {
    ...(cluster && { BROKER_CONFIG: await writeConfiguration(cluster) }),
    BROKER_DATA_DIR: dataDir,
    BROKER_AUDIENCE: AUDIENCE,
    PORT: '0',
    BROKER_DEV_PROVIDER_PORT: '0',
  };
  const broker = await startBroker(brokerSettings);
  say('broker', `listens at ${broker.url}, its provider at ${broker.issuer}`);
  for (const peer of PEERS) {
    if (cluster !== undefined) {
      await cluster.project(`shop:${peer}`, BROKER_AUDIENCE, tokenFileOf(peer));
      continue;
    }
    await runBrokerCommand(['peers', 'add', peer, '--secret-file', fileOf(peer)], {
      ...brokerSettings,
      BROKER_ISSUER: broker.issuer,
    });
  }

  const mesh = { ISSUER: broker.issuer, AUDIENCE, BROKER_URL: broker.url };
  const billing = await startService('billing', mesh);
  const orders = await startService('orders', {
    ...mesh,
    ...proofOf('orders'),
    BILLING_URL: billing,
  });

  const ann = await customerToken(broker.issuer, 'ann');
  const order = async (path: string, requestId: string): Promise<string> => {
    const response = await fetch(`${orders}${path}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${ann}`, 'x-request-id': requestId },
    });
    return `${response.status} ${await response.text()}`;
  };

  process.stdout.write('\n');
  say('ann', 'places an order');
  say('ann', `is answered ${await order('/orders', 'ann-1')}`);
  process.stdout.write('\n');
  say('ann', 'asks for what only services may do');
  say('ann', `is answered ${await order('/orders/write-off', 'ann-2')}`);
  process.stdout.write('\n');
  say('job', 'runs at night, for nobody');
  await runJob('nightly-job', {
    ...mesh,
    ...proofOf('nightly-job'),
    ORDERS_URL: orders,
  });
} finally {
  await stopAll();
  cluster?.stop();
  await rm(dataDir, { recursive: true, force: true });
}

/** By what a service proves who it is. */
function proofOf(peer: string): Readonly<Record<string, string>> {
  return cluster === undefined
    ? { PEER_ID: peer, PEER_FILE: fileOf(peer) }
    : { WORKLOAD_TOKEN_FILE: tokenFileOf(peer) };
}

/** The broker's configuration: whose tokens it trusts, and which service account is which peer. JSON is YAML, too. */
async function writeConfiguration({ issuer, jwksUri }: Cluster): Promise<string> {
  const path = join(dataDir, 'broker.yaml');
  const peers = PEERS.map((peer) => {
    const subject = `system:serviceaccount:shop:${peer}`;
    return [peer, { identities: [{ issuer: 'cluster', subject }], tokens: ['default'] }];
  });
  const audience = BROKER_AUDIENCE;
  const trusted = { cluster: { kind: 'kubernetes', issuer, jwks_uri: jwksUri, audience } };
  await writeFile(
    path,
    JSON.stringify({ trusted_issuers: trusted, peers: Object.fromEntries(peers) }),
  );
  return path;
}

/** A token for a customer who logs in nowhere, which only the embedded provider gives. */
async function customerToken(issuer: string, subject: string): Promise<string> {
  const file = await readFile(join(dataDir, 'dev-customer-app.json'), 'utf8');
  const { id, secret } = JSON.parse(file) as { id: string; secret: string };
  const response = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}` },
    body: new URLSearchParams({
      grant_type: 'urn:service-token-broker:dev-customer',
      subject,
      scope: 'orders:write',
    }),
  });
  if (!response.ok) throw new Error(`The provider answered ${response.status}.`);
  return ((await response.json()) as { access_token: string }).access_token;
}
