import type { Core } from '../composition/core.js';
import {
  requireNoFile,
  writeSecretFile,
  readTextInput,
  writeSecret,
} from '../composition/secret-file.js';
import { addPeer, listPeers, removePeer } from '../peers/peer-admin.js';
import { withCore, type CommandContext, instant, show } from './command.js';
import { parseCredentialsSecret } from '../provider/client-credentials.js';

/** Options of `peers add`. */
export interface AddPeerOptions {
  readonly role: readonly string[];
  /** Where the peer's id and secret go. Default: `ID-peer.json` in the working directory. */
  readonly secretFile?: string;
  readonly showSecret?: boolean;
}

/** A login that fails makes a broker read the list again, at most every 5 seconds. */
const KNOWN_WHEN = 'Running brokers accept it at once; after another failed login, within 5 s.';

/** `peers add`: adds a peer and hands out its secret, which is kept nowhere. */
export async function addPeerCommand(
  context: CommandContext,
  id: string,
  options: AddPeerOptions,
): Promise<void> {
  const { output } = context;
  const file = options.showSecret === true ? undefined : (options.secretFile ?? `${id}-peer.json`);
  // Looked at first: a peer whose secret could not be written would have to be removed again.
  if (file !== undefined) await requireNoFile(file);
  const added = `Added the peer ${id} (roles: ${options.role.join(', ')}).`;
  const add = async ({ store, config, clock }: Core): Promise<void> => {
    const admin = { store, secretId: config.secrets.peersSecretId, clock };
    const { secret } = await addPeer(admin, id, options.role);
    if (file === undefined) {
      show(output, { id, secret, roles: options.role }, [
        added,
        KNOWN_WHEN,
        'Its secret, which is shown only now:',
        secret,
      ]);
      return;
    }
    try {
      await writeSecretFile(file, `${JSON.stringify({ id, secret }, null, 2)}\n`);
    } catch (error) {
      await removePeer(admin, id);
      throw error;
    }
    show(output, { id, roles: options.role, secret_file: file }, [
      added,
      `Its id and secret are in ${file} (mode 0600), and nowhere else: hand the file to the service.`,
      KNOWN_WHEN,
    ]);
  };
  await withCore(context, add, { makes: 'store' });
}

/** `peers list`: who may ask for the service token. */
export async function listPeersCommand(context: CommandContext): Promise<void> {
  await withCore(context, async ({ store, config }) => {
    const list = await listPeers({ store, secretId: config.secrets.peersSecretId });
    const lines = [
      ...list.peers.map(
        ({ id, roles, enabled }) =>
          `${id}\t${roles.join(', ')}\t${enabled ? 'enabled' : 'disabled'}`,
      ),
      ...list.malformed.map(
        ({ id, reason }) => `${id ?? '(no id)'}\tmalformed, and refused: ${reason}`,
      ),
    ];
    const peers = list.peers.map((peer) => ({ ...peer, createdAt: instant(peer.createdAt) }));
    show(
      context.output,
      { ...list, peers },
      lines.length > 0 ? lines : ['No peers yet. Add one: service-token-broker peers add ID'],
    );
  });
}

/** `peers remove`: the peer is refused from now on. */
export async function removePeerCommand(context: CommandContext, id: string): Promise<void> {
  await withCore(context, async ({ store, config, clock }) => {
    await removePeer({ store, secretId: config.secrets.peersSecretId, clock }, id);
    show(context.output, { removed: id }, [
      `Removed the peer ${id}. Running brokers refuse it within ${config.cache.ttlSeconds} seconds.`,
    ]);
  });
}

/**
 * `credentials set`: writes the credentials secret, for stores that people cannot edit otherwise. What is written is
 * checked first, so that a mistake does not replace credentials that work.
 */
export async function setCredentialsCommand(
  context: CommandContext,
  options: { readonly file: string },
): Promise<void> {
  const text = await readTextInput({
    path: options.file,
    what: 'the client credentials (JSON)',
    tell: (line) => context.output.err(`${line}\n`),
  });
  const { credentials } = parseCredentialsSecret(text);
  const write = async ({ store, config }: Core): Promise<void> => {
    const { credentialsSecretId } = config.secrets;
    const versionId = await writeSecret(store, credentialsSecretId, text);
    show(context.output, { client_id: credentials.clientId, version_id: versionId }, [
      `The credentials secret "${credentialsSecretId}" holds the credentials of client ${credentials.clientId}.`,
      'The next rotation uses them. Try them now: service-token-broker rotate',
    ]);
  };
  await withCore(context, write, { makes: 'store' });
}
