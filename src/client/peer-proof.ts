import { createHash } from 'node:crypto';
import { Agent } from 'node:https';
import { createSecureContext } from 'node:tls';
import { bareError, clientSecretBasic, systemCode } from '../tokens/http.js';
import { isJsonObject, parseStrictJson } from '../tokens/json.js';
import { withDeadline, type Clock } from '../tokens/time.js';
import {
  ClientConfigError,
  readAll,
  TokenRequestError,
  type TokenRequestErrorCode,
} from './client-errors.js';

/** Who asks, and how it proves that: a peer of the broker, in one of three ways. */
export type PeerOptions = PeerWithSecret | PeerWithWorkloadToken | PeerWithCertificate;

/** A peer with a secret, as `service-token-broker peers add` made it. */
export interface PeerWithSecret {
  readonly id: string;
  /**
   * The peer's secret, or a function that returns it. The function is called for each request, so that a secret replaced in a
   * mounted file or a vault is used at once. White space and a byte-order mark around it are ignored.
   */
  readonly secret: string | (() => string | Promise<string>);
  readonly workloadToken?: undefined;
  readonly certificate?: undefined;
  readonly key?: undefined;
}

/** A peer that proves itself with a JWT of its platform (RFC 7523 §2.2): no secret is stored anywhere. */
export interface PeerWithWorkloadToken {
  /** The peer's id, if the request should name it (`client_id`). The broker knows the peer by the token. Default: none. */
  readonly id?: string;
  /**
   * Returns the token that the platform has issued for the broker, such as the content of a projected file. It is called for
   * each request. White space and a byte-order mark around the token are ignored.
   */
  readonly workloadToken: () => string | Promise<string>;
  readonly secret?: undefined;
  readonly certificate?: undefined;
  readonly key?: undefined;
}

/** PEM text, or a function that returns it. The function is called for each request, so that a renewed file is used at once. */
export type PemSource = string | Buffer | (() => string | Buffer | Promise<string | Buffer>);

/** A peer that proves itself with a client certificate (mutual TLS, RFC 8705 §2.1). Its brokers must be `https:`. */
export interface PeerWithCertificate {
  /** The peer's id, if the request should name it (`client_id`). The broker knows the peer by the certificate. Default: none. */
  readonly id?: string;
  /** The certificate, followed by those between it and the authority. */
  readonly certificate: PemSource;
  /** The certificate's private key, without a passphrase. */
  readonly key: PemSource;
  /** The authorities of the broker's own certificate. Default: those of Node.js, with `NODE_EXTRA_CA_CERTS`. */
  readonly ca?: PemSource;
  readonly secret?: undefined;
  readonly workloadToken?: undefined;
}

/** A peer's options, checked. What the functions return is checked when it is read. */
export type PeerIdentity =
  | { readonly kind: 'secret'; readonly id: string; readonly read: () => unknown }
  | {
      readonly kind: 'workload-token';
      readonly id: string | undefined;
      readonly read: () => unknown;
    }
  | {
      readonly kind: 'certificate';
      readonly id: string | undefined;
      readonly certificate: () => unknown;
      readonly key: () => unknown;
      readonly ca: (() => unknown) | undefined;
    };

/** What one request is sent with. It holds secrets: it is never logged, and no error refers to it. */
export interface PeerProof {
  readonly kind: PeerIdentity['kind'];
  /** A refusal is remembered under this key: with another, the broker is asked at once. */
  readonly key: string;
  /** Parameters of the form of a token request. */
  readonly form: Readonly<Record<string, string>>;
  /** `Authorization` of a token request; `undefined` for none. */
  readonly tokenAuthorization: string | undefined;
  /** `Authorization` of `GET /v1/token`; `undefined` for none. */
  readonly getAuthorization: string | undefined;
  /** Presents the client certificate. */
  readonly agent: Agent | undefined;
}

const WAYS = ['secret', 'workloadToken', 'certificate'] as const;

/**
 * Checks the option `peer`. Members that have no meaning here are ignored, as the file that `peers add` writes may get more.
 *
 * @throws {ClientConfigError} naming every mistake.
 */
export function readPeer(peer: PeerOptions): PeerIdentity {
  if (!isJsonObject(peer)) {
    throw new ClientConfigError('"peer" must have the peer\'s id and secret.');
  }
  const ways = WAYS.filter((way) => peer[way] !== undefined);
  if (ways.length > 1) {
    const names = ways.map((way) => `"peer.${way}"`).join(' and ');
    throw new ClientConfigError(
      `A peer proves who it is in one way, and ${names} are set: leave out all but one.`,
    );
  }
  if (peer['key'] !== undefined && ways[0] !== 'certificate') {
    throw new ClientConfigError(
      '"peer.key" is the private key of a certificate: "peer.certificate" must stand beside it, and no other proof.',
    );
  }
  const { id, secret, workloadToken, certificate, key } = peer;
  const readId = (): string => {
    // Without the white space that a pasted one ends with.
    if (typeof id === 'string' && id.trim() !== '') return id.trim();
    throw new ClientConfigError('"peer.id" must be the id that the broker knows the peer by.');
  };
  const readOptionalId = (): string | undefined => (id === undefined ? undefined : readId());
  if (workloadToken !== undefined) {
    const parts = readAll({
      id: readOptionalId,
      read: (): (() => unknown) => {
        if (typeof workloadToken === 'function') return () => workloadToken();
        throw new ClientConfigError(
          '"peer.workloadToken" must be a function that returns the token, because the platform replaces it while the process runs.',
        );
      },
    });
    return { kind: 'workload-token', ...parts };
  }
  if (certificate !== undefined) {
    const parts = readAll({
      id: readOptionalId,
      certificate: () => pemReader('certificate', certificate),
      key: () => pemReader('key', key),
      ca: () => (peer.ca === undefined ? undefined : pemReader('ca', peer.ca)),
    });
    return { kind: 'certificate', ...parts };
  }
  const parts = readAll({
    id: readId,
    read: (): (() => unknown) => {
      if (typeof secret === 'function') return () => secret();
      if (typeof secret === 'string' && secret.trim() !== '') return () => secret;
      throw new ClientConfigError(
        '"peer.secret" must be the peer\'s secret, or a function that returns it.',
      );
    },
  });
  return { kind: 'secret', ...parts };
}

type PemName = 'certificate' | 'key' | 'ca';

const PEM_LABELS: Readonly<Record<PemName, RegExp>> = {
  certificate: /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/,
  key: /-----BEGIN (?:RSA |EC )?PRIVATE KEY-----/,
  ca: /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/,
};
const PEM_WORDS: Readonly<Record<PemName, string>> = {
  certificate: "the peer's certificate",
  key: "the certificate's private key without a passphrase",
  ca: 'the certificates of authorities',
};

function pemReader(name: PemName, value: unknown): () => unknown {
  if (typeof value === 'function') return () => (value as () => unknown)();
  const pem = pemText(name, value);
  if (pem !== undefined) return () => pem;
  throw new ClientConfigError(
    `"peer.${name}" must be ${PEM_WORDS[name]} in PEM form, or a function that returns that.`,
  );
}

/** The largest PEM that is read, in characters: bundles of authorities have a few hundred thousand. */
const MAX_PEM_LENGTH = 1_048_576;

function pemText(name: PemName, value: unknown): string | undefined {
  const text = Buffer.isBuffer(value) ? value.toString('utf8') : value;
  return typeof text === 'string' && text.length <= MAX_PEM_LENGTH && PEM_LABELS[name].test(text)
    ? text
    : undefined;
}

/** The connections of one certificate. */
interface KeptAgent {
  readonly key: string;
  readonly agent: Agent;
}

/**
 * Reads the proof for the next request: secrets, workload tokens and certificates are replaced while a process runs.
 *
 * One of these belongs to one client: it keeps the connections of the current certificate.
 */
export class ProofReader {
  readonly #identity: PeerIdentity;
  readonly #clock: Clock;
  #agent: KeptAgent | undefined;

  constructor(identity: PeerIdentity, clock: Clock) {
    this.#identity = identity;
    this.#clock = clock;
  }

  /**
   * @param timeoutMs milliseconds that the functions may take.
   * @throws {TokenRequestError} `PEER_SECRET_UNREADABLE`, `PEER_SECRET_INVALID`, `WORKLOAD_TOKEN_UNREADABLE`,
   *   `WORKLOAD_TOKEN_INVALID`, `PEER_CERTIFICATE_UNREADABLE`, `PEER_CERTIFICATE_INVALID`.
   */
  async read(timeoutMs: number): Promise<PeerProof> {
    const identity = this.#identity;
    const { kind, id } = identity;
    if (kind === 'certificate') return this.#certificateProof(identity, timeoutMs);
    const { read } = identity;
    if (kind === 'secret') {
      const code = 'PEER_SECRET_UNREADABLE';
      return secretProof(identity.id, await this.#call(read, "the peer's secret", code, timeoutMs));
    }
    const code = 'WORKLOAD_TOKEN_UNREADABLE';
    return workloadProof(id, await this.#call(read, 'the workload token', code, timeoutMs));
  }

  async #certificateProof(
    identity: PeerIdentity & { readonly kind: 'certificate' },
    timeoutMs: number,
  ): Promise<PeerProof> {
    const pem = async (name: PemName, read: () => unknown): Promise<string> => {
      const code = 'PEER_CERTIFICATE_UNREADABLE';
      const text = pemText(name, await this.#call(read, PEM_WORDS[name], code, timeoutMs));
      if (text !== undefined) return text;
      throw invalidCertificate(`"peer.${name}" is not ${PEM_WORDS[name]} in PEM form`);
    };
    const [cert, key, ca] = await Promise.all([
      pem('certificate', identity.certificate),
      pem('key', identity.key),
      identity.ca === undefined ? undefined : pem('ca', identity.ca),
    ]);
    const { id } = identity;
    const agent = this.#agentFor(cert, key, ca);
    return {
      kind: 'certificate',
      key: agent.key,
      form: id === undefined ? {} : { client_id: id },
      tokenAuthorization: undefined,
      getAuthorization: undefined,
      agent: agent.agent,
    };
  }

  /** The connections of these credentials. Those of earlier ones end when the broker closes them. */
  #agentFor(cert: string, key: string, ca: string | undefined): KeptAgent {
    const parts = JSON.stringify([cert, key, ca]);
    const print = createHash('sha256').update(parts).digest('base64url');
    if (this.#agent?.key === print) return this.#agent;
    let secureContext;
    try {
      secureContext = createSecureContext({ cert, key, ca });
    } catch (error) {
      // OpenSSL's message may quote the file.
      const code = systemCode(error);
      throw invalidCertificate(
        'the certificate and the key do not fit together, or one is damaged' +
          (code === undefined ? '' : ` (${code})`),
      );
    }
    const agent = new Agent({ keepAlive: true, secureContext });
    this.#agent = { key: print, agent };
    return this.#agent;
  }

  async #call(
    read: () => unknown,
    what: string,
    code: TokenRequestErrorCode,
    timeoutMs: number,
  ): Promise<unknown> {
    const unreadable = (why: string, cause?: Error): TokenRequestError =>
      new TokenRequestError(code, `The function for ${what} ${why}.`, { cause });
    try {
      return await withDeadline(
        this.#clock,
        timeoutMs,
        async () => read(),
        () => unreadable(`returned none within ${Math.ceil(timeoutMs / 100) / 10} s`),
      );
    } catch (error) {
      if (error instanceof TokenRequestError) throw error;
      // The error itself may quote the secret, as that of a JSON parser does.
      const cause = bareError(error);
      throw unreadable(`failed (${systemCode(error) ?? cause.message})`, cause);
    }
  }
}

/** Without the white space and the byte-order mark around it: `trim` removes both. */
function secretProof(id: string, secret: unknown): PeerProof {
  if (typeof secret !== 'string' || secret.trim() === '') {
    throw new TokenRequestError(
      'PEER_SECRET_INVALID',
      "The function for the peer's secret returned none: it must return a text that is not empty.",
    );
  }
  const basic = clientSecretBasic(id, secret.trim());
  return {
    kind: 'secret',
    key: secret.trim(),
    form: {},
    tokenAuthorization: basic,
    getAuthorization: basic,
    agent: undefined,
  };
}

/** RFC 7523 §2.2. */
const ASSERTION_TYPE = 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer';

/** Real ones have one to three thousand characters, and servers accept headers of 16 KiB in all. */
const MAX_WORKLOAD_TOKEN_LENGTH = 12_288;

function workloadProof(id: string | undefined, value: unknown): PeerProof {
  const token = typeof value === 'string' ? value.trim() : '';
  const fault = workloadTokenFault(token);
  if (typeof fault === 'string') {
    throw new TokenRequestError(
      'WORKLOAD_TOKEN_INVALID',
      `The function for the workload token returned no JWT: ${fault}. If it reads a file, compare the path with the ` +
        "platform's configuration; a file that is just being written is read again.",
    );
  }
  return {
    kind: 'workload-token',
    key: fault.who,
    form: {
      ...(id !== undefined && { client_id: id }),
      client_assertion_type: ASSERTION_TYPE,
      client_assertion: token,
    },
    tokenAuthorization: undefined,
    getAuthorization: `Bearer ${token}`,
    agent: undefined,
  };
}

/**
 * What is wrong with a JWT, or whom it speaks for and to. The broker verifies it; this only keeps half-written files and
 * error pages from being sent, and from being counted there as failed logins.
 */
function workloadTokenFault(token: string): string | { readonly who: string } {
  if (token === '') return 'it is empty';
  if (token.length > MAX_WORKLOAD_TOKEN_LENGTH) {
    return `it has more than ${MAX_WORKLOAD_TOKEN_LENGTH} characters`;
  }
  const [, header, payload] =
    /^([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.[A-Za-z0-9_-]+$/.exec(token) ?? [];
  if (header === undefined || payload === undefined) {
    return 'it is not three parts of base64url with dots between them';
  }
  const [head, claims] = [header, payload].map((part) => {
    const json = parseStrictJson(Buffer.from(part, 'base64url').toString('utf8'), 16);
    return json.ok && isJsonObject(json.value) ? json.value : undefined;
  });
  if (head === undefined || claims === undefined) {
    return 'its header or its claims are not a JSON object';
  }
  // Some platforms issue a new token for each call: a refusal of one holds for the next, too.
  return { who: JSON.stringify([claims['iss'], claims['sub'], claims['aud']]) };
}

function invalidCertificate(why: string): TokenRequestError {
  return new TokenRequestError(
    'PEER_CERTIFICATE_INVALID',
    `The peer's client certificate cannot be used: ${why}. A file that is just being written is read again.`,
  );
}
