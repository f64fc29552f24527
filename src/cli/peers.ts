import { addPeer, listPeers, removePeer } from '../serving/peer-admin.js';
import { withCore, type CommandContext } from './commands.js';
import { show, span } from './output.js';
import { requireNoFile, writeSecretFile } from '../composition/secret-file.js';

/** Options of `peers add`. */
export interface AddPeerOptions {
  readonly role: readonly string[];
  /** Where the peer's id and secret go. Default: `ID-peer.json` in the working directory. */
  readonly secretFile?: string;
  readonly showSecret?: boolean;
}

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
  await withCore(context, async ({ store, config, clock }) => {
    const admin = { store, secretId: config.secrets.peersSecretId, clock };
    const added = await addPeer(admin, id, options.role);
    if (file === undefined) {
      show(output, { id, secret: added.secret, roles: options.role }, [
        `Added the peer ${id}. Its secret, which is shown only now:`,
        added.secret,
      ]);
      return;
    }
    try {
      await writeSecretFile(file, `${JSON.stringify({ id, secret: added.secret }, null, 2)}\n`);
    } catch (error) {
      await removePeer(admin, id);
      throw error;
    }
    show(output, { id, roles: options.role, secret_file: file }, [
      `Added the peer ${id} (roles: ${options.role.join(', ')}).`,
      `Its id and secret are in ${file} (mode 0600), and nowhere else: hand the file to the service.`,
      `Running brokers know the peer within ${span(config.cache.ttlSeconds * 1000)}, or at once when they have not seen any yet.`,
    ]);
  });
}

/** `peers list`: who may ask for the service token. */
export async function listPeersCommand(context: CommandContext): Promise<void> {
  await withCore(context, async ({ store, config }) => {
    const peers = await listPeers({ store, secretId: config.secrets.peersSecretId });
    show(
      context.output,
      { peers },
      peers.length === 0
        ? ['No peers yet. Add one: service-token-broker peers add ID']
        : peers.map(
            ({ id, roles, enabled }) =>
              `${id}\t${roles.join(', ')}\t${enabled ? 'enabled' : 'disabled'}`,
          ),
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
