import {
  readTextInput,
  requireNoFile,
  writeSecret,
  writeSecretFile,
} from '../composition/secret-file.js';
import {
  addPeer,
  grantPeer,
  listPeers,
  removePeer,
  rotatePeerSecret,
} from '../peers/peer-admin.js';
import type { ConfiguredPeer } from '../peers/identities.js';
import { explainPeer } from '../peers/explanation.js';
import { isNearlyFull, readPeers, totalRoom } from '../peers/peer-directory.js';
import { DEFAULT_TOKEN, type PeerSummary } from '../peers/peers.js';
import { DEFAULT_NAME, type BrokerConfig, type TokenConfig } from '../config/broker-config.js';
import { parseCredentialsSecret } from '../provider/client-credentials.js';
import { readConfig, tokenArgument, withCore, type CommandContext } from './command.js';
import { configuredSettings } from '../composition/core.js';
import { BrokerError } from '../tokens/errors.js';
import {
  instant,
  minute,
  plain,
  show,
  table,
  warn,
  type Output,
  type Paint,
} from '../composition/terminal.js';

/** Options of `peers add`. */
export interface AddPeerOptions {
  readonly role: readonly string[];
  /** The names of the tokens that it may have. Default: `default`. */
  readonly token?: readonly string[];
  /** Where the peer's id and secret go. Default: `ID-peer.json` in the working directory. */
  readonly secretFile?: string;
  readonly showSecret?: boolean;
}

function peersSecretsOf({ secrets }: BrokerConfig): {
  readonly secretId: string;
  readonly moreSecretIds: readonly string[];
} {
  return { secretId: secrets.peersSecretId, moreSecretIds: secrets.morePeersSecretIds };
}

/** A login that fails makes a broker read the list again, at most every 5 seconds. */
const KNOWN_WHEN = 'Running brokers accept it at once; after another failed login, within 5 s.';

/** `peers add`: adds a peer and hands out its secret; the broker keeps a hash of it. */
export async function addPeerCommand(
  context: CommandContext,
  id: string,
  options: AddPeerOptions,
): Promise<void> {
  const { output } = context;
  const file = options.showSecret === true ? undefined : (options.secretFile ?? `${id}-peer.json`);
  // Before the peer is added: one whose secret cannot be written would have to be removed again.
  if (file !== undefined) await requireNoFile(file);
  const added = `Added the peer ${id} (roles: ${options.role.join(', ')}).`;
  await withCore(
    context,
    async ({ store, config, clock }) => {
      const admin = { store, ...peersSecretsOf(config), clock };
      const { secret } = await addPeer(admin, id, options.role, options.token);
      warnOfUnknown(output, config, options.token);
      if (file === undefined) {
        const lines = [added, KNOWN_WHEN, 'Its secret, which is shown only now:', secret];
        show(output, { id, secret, roles: options.role }, lines);
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
    },
    { creates: 'store' },
  );
}

function warnOfUnknown(
  output: Output,
  { tokens }: BrokerConfig,
  granted: readonly string[] = [],
): void {
  const known = tokens.map(({ name }) => name);
  const unknown = granted.filter((name) => !known.includes(name));
  if (unknown.length === 0) return;
  const what = `No token is configured here by the name ${unknown.join(', ')}`;
  warn(
    output,
    `${what}: the grant opens nothing until there is one. Configured: ${known.join(', ')}.`,
  );
}

/** Options of `peers grant`. */
export interface GrantPeerOptions {
  readonly role?: readonly string[];
  readonly token?: readonly string[];
}

/** `peers grant`: other tokens or roles for a peer, which keeps its secret. */
export async function grantPeerCommand(
  context: CommandContext,
  id: string,
  { role: roles, token: tokens }: GrantPeerOptions,
): Promise<void> {
  const { output } = context;
  await withCore(context, async ({ store, config, clock }) => {
    const admin = { store, ...peersSecretsOf(config), clock };
    const grants = { ...(roles && { roles }), ...(tokens && { tokens }) };
    const peer = await grantPeer(admin, id, grants);
    warnOfUnknown(output, config, tokens);
    show(output, { id, roles: peer.roles, tokens: peer.tokens }, [
      `The peer ${id} has the roles ${peer.roles.join(', ')} and the tokens ${peer.tokens.join(', ') || '-'}. Its secret is as it was.`,
      `Running brokers follow within ${config.cache.ttlSeconds} seconds.`,
    ]);
  });
}

/** Options of `peers rotate-secret`. */
export interface RotateSecretOptions {
  /** Milliseconds. */
  readonly overlap: number;
  /** Where the peer's id and new secret go. Default: `ID-peer-new.json` in the working directory. */
  readonly secretFile?: string;
  readonly showSecret?: boolean;
}

/** `peers rotate-secret`: a new secret for a peer, beside the old one for a time. */
export async function rotatePeerSecretCommand(
  context: CommandContext,
  id: string,
  { overlap, showSecret, secretFile }: RotateSecretOptions,
): Promise<void> {
  const { output } = context;
  const file = showSecret === true ? undefined : (secretFile ?? `${id}-peer-new.json`);
  if (file !== undefined) await requireNoFile(file);
  await withCore(context, async ({ store, config, clock }) => {
    const admin = { store, ...peersSecretsOf(config), clock };
    const { secret, previousUntil, undo } = await rotatePeerSecret(admin, id, overlap);
    const done =
      overlap === 0
        ? `The peer ${id} has a new secret. Running brokers refuse the old one within ${config.cache.ttlSeconds} seconds.`
        : `The peer ${id} has a new secret. The old one works until ${minute(previousUntil)} (UTC).`;
    const shown = { id, previous_secret_until: overlap === 0 ? null : instant(previousUntil) };
    if (file === undefined) {
      const lines = [done, KNOWN_WHEN, 'The new secret, which is shown only now:', secret];
      show(output, { ...shown, secret }, lines);
      return;
    }
    try {
      await writeSecretFile(file, `${JSON.stringify({ id, secret }, null, 2)}\n`);
    } catch (error) {
      await undo();
      throw error;
    }
    show(output, { ...shown, secret_file: file }, [
      done,
      `Its id and secret are in ${file} (mode 0600), and nowhere else: hand the file to the service.`,
      KNOWN_WHEN,
    ]);
  });
}

/** `peers list`: who may ask for the service token. */
export async function listPeersCommand(context: CommandContext): Promise<void> {
  await withCore(context, async ({ store, config, clock }) => {
    const all = await listPeers({ store, ...peersSecretsOf(config) });
    const now = clock.now();
    const list = { ...all, peers: all.peers.map((peer) => withoutEndedSecret(peer, now)) };
    const peers = list.peers.map(peerJson);
    const secrets = list.secrets.map(({ id, exists, entries, bytes, limit }) => ({
      id,
      exists,
      entries,
      usedBytes: bytes,
      limitBytes: limit,
    }));
    const configured = config.identities.peers.map((peer) => filePeerJson(peer, config));
    const lines = peerLines({ ...list, configured }, context.output.paint);
    show(context.output, { ...list, peers, secrets, configured }, lines);
  });
}

function withoutEndedSecret(peer: PeerSummary, now: number): PeerSummary {
  const { previousSecretUntil: until = 0, ...others } = peer;
  return until > now ? peer : others;
}

/** A peer of the configuration file, with what it proves itself by. */
interface FilePeer extends Pick<ConfiguredPeer, 'id' | 'roles' | 'tokens' | 'enabled'> {
  readonly identities: readonly { readonly kind: string; readonly proof: string }[];
}

function filePeerJson(peer: ConfiguredPeer, { identities: { issuers } }: BrokerConfig): FilePeer {
  const { id, roles, tokens, enabled } = peer;
  const secrets = { byId: new Map(), malformed: new Map() };
  const known = { secrets, configured: [peer], issuers, tokenNames: [] };
  const identities = explainPeer(known, id, 0).identities.map(({ kind, proof }) => ({
    kind,
    proof,
  }));
  return { id, roles, tokens, enabled, identities };
}

function peerJson({ createdAt, previousSecretUntil: until, ...peer }: PeerSummary): object {
  return {
    ...peer,
    createdAt: instant(createdAt),
    ...(until !== undefined && { previousSecretUntil: instant(until) }),
  };
}

/** The peers of the secrets as a table, those of the file as another, and what is wrong with malformed entries. Pure. */
export function peerLines(
  {
    peers,
    malformed,
    secrets = [],
    configured = [],
  }: Pick<Awaited<ReturnType<typeof listPeers>>, 'peers' | 'malformed'> &
    Partial<Awaited<ReturnType<typeof listPeers>>> & { readonly configured?: readonly FilePeer[] },
  paint: Paint = plain,
): readonly string[] {
  const ofFile = filePeerLines(configured, paint);
  if (peers.length + malformed.length === 0) {
    if (ofFile.length > 0) return ofFile;
    return ['No peers yet. Add one: service-token-broker peers add ID'];
  }
  // With one token for all there is nothing to tell.
  const namesTokens = peers.some(({ tokens }) => tokens.join() !== DEFAULT_TOKEN);
  const rows = [
    ...peers.map(({ id, roles, tokens, enabled, createdAt, previousSecretUntil: until }) => [
      id,
      roles.join(', '),
      // A grant without the role opens nothing.
      ...(namesTokens ? [(roles.includes('token') && tokens.join(', ')) || '-'] : []),
      `${enabled ? 'enabled' : 'disabled'}${until === undefined ? '' : `, old secret until ${minute(until)}`}`,
      minute(createdAt),
    ]),
    ...malformed.map(({ id }) => [
      id ?? '(no id)',
      '-',
      ...(namesTokens ? ['-'] : []),
      'malformed',
      '-',
    ]),
  ];
  return [
    ...table(
      ['ID', 'ROLES', ...(namesTokens ? ['TOKENS'] : []), 'STATE', 'ADDED (UTC)'],
      rows,
      paint,
    ),
    ...malformed.map(
      ({ id, reason }) =>
        `${paint('bad', 'Malformed, and refused:')} ${id ?? '(no id)'}: ${reason}`,
    ),
    ...roomLines(secrets, paint),
    ...(ofFile.length === 0 ? [] : ['', ...ofFile]),
  ];
}

function filePeerLines(peers: readonly FilePeer[], paint: Paint): readonly string[] {
  if (peers.length === 0) return [];
  const rows = peers.map(({ id, roles, tokens, enabled, identities }) => [
    id,
    [...new Set(identities.map(({ kind }) => kind.replace('_', ' ')))].join(', '),
    // The role follows from the tokens there.
    roles.filter((role) => role !== 'token').join(', ') || '-',
    tokens.join(', ') || '-',
    enabled ? 'enabled' : 'disabled',
  ]);
  return table(['IN THE FILE', 'PROVES WHO IT IS BY', 'ROLES', 'TOKENS', 'STATE'], rows, paint);
}

/** Where a single secret begins to be worth a line. */
const HALF = 0.5;

/** How full the secrets are, and what to do before they are full; nothing while one secret has room for twice as many. */
function roomLines(
  secrets: Awaited<ReturnType<typeof listPeers>>['secrets'],
  paint: Paint,
): readonly string[] {
  const total = totalRoom(secrets);
  if (secrets.length < 2 && total.bytes < total.limit * HALF) return [];
  const lines = secrets.map(({ id, exists, bytes, limit, entries }) =>
    exists
      ? `Secret ${id}: ${entries} peer${entries === 1 ? '' : 's'}, ${Math.floor((100 * bytes) / limit)} % of ${limit} bytes.`
      : `Secret ${id}: created when the others are full.`,
  );
  if (secrets.length === 0 || !isNearlyFull(total)) return lines;
  const advice = 'name another secret in BROKER_PEERS_SECRET_ID, after a comma.';
  return [...lines, `${paint('warning', 'Nearly full:')} ${advice}`];
}

/** `peers explain`: which identities a peer has, and why it may have a token or not. @returns false when it may not. */
export async function explainPeerCommand(
  context: CommandContext,
  id: string,
  token: string | undefined,
): Promise<boolean> {
  return withCore(context, async ({ store, config, clock }) => {
    const { peersSecretId, morePeersSecretIds } = config.secrets;
    const { issuers, peers: configured } = config.identities;
    const secrets = await readPeers(store, peersSecretId, morePeersSecretIds);
    const tokenNames = config.tokens.map(({ name }) => name);
    const known = { secrets, configured, issuers, tokenNames };
    const { lines, ...explanation } = explainPeer(known, id, clock.now(), token);
    show(context.output, explanation, lines);
    const isKnown = explanation.identities.length > 0;
    return token === undefined
      ? isKnown
      : explanation.allowed === true && tokenNames.includes(token);
  });
}

/** `peers remove`: the peer is refused from now on. */
export async function removePeerCommand(context: CommandContext, id: string): Promise<void> {
  await withCore(context, async ({ store, config, clock }) => {
    await removePeer({ store, ...peersSecretsOf(config), clock }, id);
    show(context.output, { removed: id }, [
      `Removed the peer ${id}. Running brokers refuse it within ${config.cache.ttlSeconds} seconds.`,
    ]);
  });
}

/** Options of `credentials set`. */
export interface SetCredentialsOptions {
  /** The path of the JSON; `-` is standard input. */
  readonly file: string;
  /** Whose credentials: the name of a configured provider. Default: the only one, or `default`. */
  readonly provider?: string;
}

/** A token of the provider that is named, of the only one, or of `default`. @throws {BrokerError} */
function tokenOfProvider(tokens: readonly TokenConfig[], name?: string): TokenConfig {
  const names = [...new Set(tokens.map(({ providerName }) => providerName))];
  const wanted = name ?? (names.length === 1 ? names[0] : DEFAULT_NAME);
  const token = tokens.find(({ providerName }) => providerName === wanted);
  if (token !== undefined) return token;
  throw new BrokerError(
    'PROVIDER_NAME_UNKNOWN',
    'misconfigured',
    name === undefined
      ? `There are several providers: choose one with --provider. Configured: ${names.join(', ')}.`
      : `No token is of a provider named ${JSON.stringify(name.slice(0, 64))}. Providers of tokens: ${names.join(', ')}.`,
  );
}

/**
 * `credentials set`: writes the credentials secret. The text is checked first, so that a mistake does not replace
 * credentials that work.
 *
 * @throws {BrokerError} `PROVIDER_NAME_UNKNOWN`; what `parseCredentialsSecret` throws.
 */
export async function setCredentialsCommand(
  context: CommandContext,
  { file, provider }: SetCredentialsOptions,
): Promise<void> {
  const { output } = context;
  const config = readConfig(context);
  const token = tokenOfProvider(config.tokens, provider);
  const text = await readTextInput({
    path: file,
    what: 'the client credentials (JSON)',
    tell: (line) => output.err(`${line}\n`),
  });
  const { clientId } = parseCredentialsSecret(text, configuredSettings(token)).credentials;
  await withCore(
    context,
    async ({ store }) => {
      const { credentialsSecretId } = token;
      const versionId = await writeSecret(store, credentialsSecretId, text);
      show(output, { client_id: clientId, version_id: versionId }, [
        `The credentials secret "${credentialsSecretId}" holds the credentials of client ${clientId}.`,
        `The next rotation uses them. Try them now: service-token-broker rotate${tokenArgument(token.name, config)}`,
      ]);
    },
    { creates: 'store', config },
  );
}
