import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const AUDIENCE = 'https://services.example.test';
/** As dev mode has it: a little more than a day. */
const TOKEN_LIFETIME_SECONDS = 90_000;

/** A folder of its own for one part of the bench. */
export async function temporaryFolder() {
  const path = await mkdtemp(join(tmpdir(), 'service-token-broker-bench-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/**
 * What a broker needs around it: the embedded provider, running, and a data folder with client credentials and a peer.
 * The settings are those that `serve` reads from its environment; whatever they do not name has its default.
 */
export async function setScene(build, settings = {}) {
  const folder = await temporaryFolder();
  const [config, store, credentials, provider, peers, clock] = await Promise.all(
    [
      'config/load-config.js',
      'composition/open-store.js',
      'dev/dev-logins.js',
      'dev/embedded-provider.js',
      'peers/peer-admin.js',
      'tokens/time.js',
    ].map((path) => build.load(path)),
  );
  const given = { HOST: '127.0.0.1', PORT: '0', BROKER_DATA_DIR: folder.path, ...settings };
  const first = config.loadConfig({ env: given });
  const opened = await store.openStore(first, clock.systemClock);
  const client = await credentials.ensureDevCredentials(opened, first);
  const running = await provider.startEmbeddedProvider({
    ...client,
    port: 0,
    dataDir: folder.path,
    audience: AUDIENCE,
    accessTokenTtlSeconds: TOKEN_LIFETIME_SECONDS,
  });
  const admin = {
    store: opened,
    secretId: first.secrets.peersSecretId,
    clock: clock.systemClock,
  };
  const peer = await peers.addPeer(admin, 'bench', ['token']);
  await opened.close();
  const env = { ...given, BROKER_ISSUER: running.issuer, BROKER_AUDIENCE: AUDIENCE };
  return {
    env,
    config: config.loadConfig({ env }),
    provider: running,
    peer: { id: peer.id, secret: peer.secret },
    authorization: `Basic ${Buffer.from(`${peer.id}:${peer.secret}`).toString('base64')}`,
    folder: folder.path,
    close: async () => {
      await running.close();
      await folder.remove();
    },
  };
}
