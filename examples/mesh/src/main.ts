import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runBrokerCommand, runJob, startBroker, startService, stopAll } from './processes.js';
import { say } from './say.js';

// A broker, two services and a job, each in a process of its own, and one customer.

const AUDIENCE = 'https://services.example.test';
const dataDir = await mkdtemp(join(tmpdir(), 'mesh-'));
const fileOf = (peer: string): string => join(dataDir, `${peer}-peer.json`);

try {
  const brokerSettings = {
    BROKER_DATA_DIR: dataDir,
    BROKER_AUDIENCE: AUDIENCE,
    PORT: '0',
    BROKER_DEV_PROVIDER_PORT: '0',
  };
  const broker = await startBroker(brokerSettings);
  say('broker', `listens at ${broker.url}, its provider at ${broker.issuer}`);
  for (const peer of ['orders', 'nightly-job']) {
    await runBrokerCommand(['peers', 'add', peer, '--secret-file', fileOf(peer)], {
      ...brokerSettings,
      BROKER_ISSUER: broker.issuer,
    });
  }

  const mesh = { ISSUER: broker.issuer, AUDIENCE, BROKER_URL: broker.url };
  const billing = await startService('billing', mesh);
  const orders = await startService('orders', {
    ...mesh,
    PEER_ID: 'orders',
    PEER_FILE: fileOf('orders'),
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
    PEER_ID: 'nightly-job',
    PEER_FILE: fileOf('nightly-job'),
    ORDERS_URL: orders,
  });
} finally {
  await stopAll();
  await rm(dataDir, { recursive: true, force: true });
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
