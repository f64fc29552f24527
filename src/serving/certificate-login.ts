import { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import {
  alternativeNames,
  proofOfName,
  type CertificateName,
  type CertificateRefusal,
} from '../peers/certificate-names.js';
import { forwardedNames } from '../peers/forwarded-certificate.js';
import type { FilePeersSource } from '../peers/file-peers.js';
import type { ConfiguredPeer, IdentityTable } from '../peers/identities.js';
import type { Clock } from '../tokens/time.js';
import type { EndpointRequest } from './endpoint.js';

/** What {@link CertificateLogin} works with. */
export interface CertificateLoginOptions {
  /** Whose names count; they may be replaced at any time. */
  readonly filePeers: FilePeersSource;
  /** Whether the connection's server asks for client certificates, and trusts those of the configured authorities alone. */
  readonly trustsServerOf: (connection: Socket) => boolean;
  /** Whether the `X-Forwarded-Client-Cert` of this address counts. */
  readonly trustsProxy: (address: string) => boolean;
  readonly clock: Clock;
}

/**
 * What a request's client certificate proves: a peer; nothing, and why; or that it proves more than one peer, which is
 * refused beside any other proof, too.
 */
export type CertificateProof =
  | { readonly peer: ConfiguredPeer; readonly names: readonly CertificateName[] }
  | { readonly peer?: undefined; readonly refusal: CertificateRefusal };

/** A certificate that came with a connection. */
interface PresentedCertificate {
  /** Whether it is of a configured authority, for clients, and was valid at the handshake. */
  readonly isTrusted: boolean;
  /** Milliseconds since the Unix epoch. */
  readonly endsAt: number;
  /** `undefined` when they cannot be read. */
  readonly names: readonly CertificateName[] | undefined;
}

/** What a certificate proves by one list of peers. */
interface FoundProof {
  readonly table: IdentityTable;
  readonly proof: CertificateProof;
}

/** Each connection's certificate is read once; `undefined` when it has none. */
const presented = new WeakMap<Socket, PresentedCertificate | undefined>();

const FORWARDED = 'x-forwarded-client-cert';

/**
 * Finds the peer of a client certificate (RFC 8705 §2.1): of the connection itself, or of the one that a trusted proxy
 * describes. Peers are those of the file as it was last read.
 */
export class CertificateLogin {
  readonly #options: CertificateLoginOptions;
  readonly #found = new WeakMap<PresentedCertificate, FoundProof>();
  readonly #proxies = new WeakMap<Socket, boolean>();

  constructor(options: CertificateLoginOptions) {
    this.#options = options;
  }

  /** Whether any peer is known by a certificate. */
  get isOn(): boolean {
    return this.#table !== undefined;
  }

  /** The one peer that has these names now. */
  holderOf(names: readonly CertificateName[]): ConfiguredPeer | undefined {
    return this.#table && find(this.#table, names).peer;
  }

  get #table(): IdentityTable | undefined {
    return this.#options.filePeers.current.certificates;
  }

  /**
   * What the request's certificate proves; `undefined` when it has none, `malformed` when a trusted proxy's header cannot be
   * read. A proxy's own certificate proves nothing: its connection carries the requests of others.
   */
  proofOf({
    connection,
    headers,
  }: Pick<EndpointRequest, 'connection' | 'headers'>): CertificateProof | 'malformed' | undefined {
    const table = this.#table;
    if (connection === undefined || table === undefined) return undefined;
    const forwarded = headers[FORWARDED];
    if (this.#isProxy(connection)) {
      if (forwarded === undefined) return undefined;
      const names = forwardedNames(forwarded.join(','));
      return names === undefined ? 'malformed' : find(table, names);
    }
    const proof = this.#ofConnection(connection, table);
    return proof ?? (forwarded === undefined ? undefined : { refusal: 'proxy_untrusted' });
  }

  /** Whether the request may be that of a certificate's peer: then nothing else decides about it alone. */
  concerns(source: object | undefined): boolean {
    const table = this.#table;
    if (table === undefined || !(source instanceof IncomingMessage)) return false;
    const { socket } = source;
    if (this.#isProxy(socket)) return source.headers[FORWARDED] !== undefined;
    return isPeers(this.#ofConnection(socket, table));
  }

  #isProxy(socket: Socket): boolean {
    let isProxy = this.#proxies.get(socket);
    if (isProxy === undefined) {
      isProxy = this.#options.trustsProxy(socket.remoteAddress ?? '');
      this.#proxies.set(socket, isProxy);
    }
    return isProxy;
  }

  #ofConnection(socket: Socket, table: IdentityTable): CertificateProof | undefined {
    if (!presented.has(socket)) {
      const trusts = this.#options.trustsServerOf(socket);
      presented.set(socket, trusts ? readCertificate(socket) : undefined);
    }
    const certificate = presented.get(socket);
    if (certificate === undefined) return undefined;
    // An end that cannot be read is no end in the future.
    if (!(certificate.endsAt > this.#options.clock.now()))
      return { refusal: 'certificate_expired' };
    if (!certificate.isTrusted) return { refusal: 'certificate_untrusted' };
    const known = this.#found.get(certificate);
    if (known?.table === table) return known.proof;
    const { names } = certificate;
    const proof: CertificateProof =
      names === undefined ? { refusal: 'certificate_malformed' } : find(table, names);
    this.#found.set(certificate, { table, proof });
    return proof;
  }
}

function find(table: IdentityTable, names: readonly CertificateName[]): CertificateProof {
  const peers = new Set<ConfiguredPeer>();
  for (const name of names) {
    const proof = proofOfName(name);
    const peer = proof && table.find(proof.issuer, proof.subject);
    if (peer !== undefined) peers.add(peer);
  }
  const [peer] = peers;
  if (peer === undefined) return { refusal: 'certificate_unknown' };
  return peers.size > 1 ? { refusal: 'certificate_ambiguous' } : { peer, names };
}

/** Whether a certificate is that of a peer, or of several: no other proof may stand beside it. */
export function isPeers(proof: CertificateProof | undefined): boolean {
  return (
    proof !== undefined && (proof.peer !== undefined || proof.refusal === 'certificate_ambiguous')
  );
}

function readCertificate(socket: Socket): PresentedCertificate | undefined {
  if (!isTls(socket)) return undefined;
  const certificate = socket.getPeerX509Certificate();
  // Without one a resumed connection is "authorized", too.
  if (certificate === undefined) return undefined;
  return {
    // The second is that of the last handshake, whatever was found before.
    isTrusted: socket.authorized && !socket.authorizationError,
    endsAt: Date.parse(certificate.validTo),
    names: alternativeNames(certificate.subjectAltName),
  };
}

function isTls(socket: Socket): socket is TLSSocket {
  return 'getPeerX509Certificate' in socket;
}
