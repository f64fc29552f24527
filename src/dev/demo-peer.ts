import { hash, timingSafeEqual } from 'node:crypto';
import { resolve } from 'node:path';
import type { BrokerConfig } from '../config/broker-config.js';
import type { SecretStore } from '../secrets/secret-store.js';
import { addPeer, removePeer } from '../serving/peer-admin.js';
import { readPeers } from '../serving/peer-directory.js';
import { PEER_ROLES, type Peer } from '../serving/peers.js';
import type { Clock } from '../tokens/clock.js';
import { readLogin, replaceLogin } from './login-file.js';

const DEMO_PEER = 'demo';

/**
 * Makes sure that there is a peer `demo` that may do everything, and that its file says how to log in.
 *
 * @returns the absolute path of the file: `{"id","secret"}`, mode 0600.
 */
export async function ensureDemoPeer(
  store: SecretStore,
  config: BrokerConfig,
  clock: Clock,
): Promise<string> {
  const { dataDir, peersSecretId } = config.secrets;
  const file = resolve(dataDir, 'demo-peer.json');
  const known = (await readPeers(store, peersSecretId)).byId.get(DEMO_PEER);
  if (known !== undefined && opens((await readLogin(file))?.secret, known)) return file;
  // One of the two was lost or replaced: neither is of use without the other.
  const admin = { store, secretId: peersSecretId, clock };
  if (known !== undefined) await removePeer(admin, DEMO_PEER);
  const added = await addPeer(admin, DEMO_PEER, PEER_ROLES);
  await replaceLogin(file, added);
  return file;
}

function opens(secret: string | undefined, peer: Peer): boolean {
  if (secret === undefined || !peer.enabled) return false;
  return timingSafeEqual(Buffer.from(hash('sha256', secret, 'hex'), 'hex'), peer.secretSha256);
}
