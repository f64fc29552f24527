import { X509Certificate } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import type { TlsFilesConfig } from '../config/broker-config.js';
import { judgePair, type ClientCertificate } from '../provider/mutual-tls.js';
import { BrokerError } from '../tokens/errors.js';
import { systemCode } from '../tokens/http.js';
import type { Clock } from '../tokens/time.js';
import { FileWatch } from './file-watch.js';

/** The broker's certificate with its key, and the authorities of its peers' certificates. */
export interface ServerCertificate extends ClientCertificate {
  /** PEM; `undefined` when no client certificate is asked for. */
  readonly clientCa: string | undefined;
}

/**
 * Reads the files of TLS.
 *
 * @param now milliseconds since the Unix epoch.
 * @throws {BrokerError} `TLS_FILES_INVALID` when one of them cannot be read or used.
 */
export async function readServerCertificate(
  { certFile, keyFile, clientCaFile }: TlsFilesConfig,
  now: number,
): Promise<ServerCertificate> {
  const [certificate, key, clientCa] = await Promise.all([
    readPem(certFile, 'BROKER_TLS_CERT_FILE'),
    readPem(keyFile, 'BROKER_TLS_KEY_FILE'),
    clientCaFile === undefined ? undefined : readPem(clientCaFile, 'BROKER_TLS_CLIENT_CA_FILE'),
  ]);
  const judged = judgePair(certificate, key, now);
  if (typeof judged === 'string') {
    throw invalid(`The certificate of ${certFile} and ${keyFile} cannot be used: ${judged}.`);
  }
  const fault = clientCa === undefined ? undefined : authoritiesFault(clientCa);
  if (fault !== undefined) {
    throw invalid(`The authorities of ${clientCaFile ?? ''} cannot be used: ${fault}.`);
  }
  return { ...judged, clientCa };
}

/** More than any bundle of authorities has. */
const MOST_BYTES = 4_194_304;

async function readPem(path: string, setting: string): Promise<string> {
  let why: string;
  try {
    const found = await stat(path);
    if (found.isFile() && found.size <= MOST_BYTES) return await readFile(path, 'utf8');
    why = found.isFile() ? 'it is too large' : 'it is not a regular file';
  } catch (error) {
    why = systemCode(error) ?? 'unknown reason';
  }
  throw invalid(`The file ${path} cannot be read (${why}). Check ${setting} and who may read it.`);
}

function invalid(message: string): BrokerError {
  return new BrokerError('TLS_FILES_INVALID', 'misconfigured', message);
}

/** Each certificate of a PEM text. */
export const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

function authoritiesFault(pem: string): string | undefined {
  const blocks = pem.match(PEM_CERTIFICATE) ?? [];
  const isWhole = blocks.length === pem.split('-----BEGIN').length - 1;
  if (blocks.length === 0 || !isWhole) {
    return 'they are not certificates in PEM ("-----BEGIN CERTIFICATE-----")';
  }
  try {
    createSecureContext({ ca: blocks.map((block) => new X509Certificate(block).toString()) });
  } catch {
    return 'a certificate of them is damaged';
  }
  return undefined;
}

/** A fifth of its life, but not more than two weeks, before its end a certificate should have been renewed. */
const RENEWAL_SHARE = 5;
const RENEWAL_MOST = 14 * 86_400_000;

/** Whether a certificate ends so soon that its renewal seems to have failed. Pure. */
export function endsSoon(
  { startsAt, endsAt }: Pick<ServerCertificate, 'startsAt' | 'endsAt'>,
  now: number,
): boolean {
  return endsAt - now < Math.min((endsAt - startsAt) / RENEWAL_SHARE, RENEWAL_MOST);
}

/** Notified of the broker's certificate. */
export interface CertificateObserver {
  /** The files have changed, and the new ones are in use. */
  replaced?(certificate: ServerCertificate): void;
  /** The files have changed and cannot be used; what was read before stays in use. Once for each reason. */
  unusable?(error: unknown): void;
  /** It ends soon, or has ended. Once for each of the two. */
  ending?(certificate: ServerCertificate, hasEnded: boolean): void;
}

/** What {@link CertificateWatch} works with. */
interface CertificateWatchOptions {
  readonly files: TlsFilesConfig;
  readonly clock: Clock;
  readonly observer: CertificateObserver;
}

/** Follows the files of TLS. */
export class CertificateWatch extends FileWatch {
  readonly #options: CertificateWatchOptions;
  #current: ServerCertificate;
  #fault: string | undefined;
  #warned: 'soon' | 'ended' | undefined;

  private constructor(options: CertificateWatchOptions, current: ServerCertificate) {
    const { certFile, keyFile, clientCaFile } = options.files;
    super(
      [certFile, keyFile, ...(clientCaFile === undefined ? [] : [clientCaFile])],
      options.clock,
    );
    this.#options = options;
    this.#current = current;
  }

  /** @throws {BrokerError} `TLS_FILES_INVALID`: at start there is nothing else to use. */
  static async start(options: CertificateWatchOptions): Promise<CertificateWatch> {
    const current = await readServerCertificate(options.files, options.clock.now());
    return new CertificateWatch(options, current);
  }

  get current(): ServerCertificate {
    return this.#current;
  }

  /** Also says when the certificate ends. Never rejects. */
  override async check(): Promise<void> {
    // Time alone may make what was read usable: a certificate that was not valid yet.
    await (this.#fault === undefined ? super.check() : this.reread());
    this.#warn(this.#options.clock.now());
  }

  protected override async read(): Promise<void> {
    const { files, clock, observer } = this.#options;
    try {
      const read = await readServerCertificate(files, clock.now());
      this.#fault = undefined;
      this.#use(read);
    } catch (error) {
      const fault = error instanceof Error ? error.message : String(error);
      if (fault !== this.#fault) observer.unusable?.(error);
      this.#fault = fault;
    }
  }

  #use(read: ServerCertificate): void {
    const { certificate, key, clientCa } = this.#current;
    if (read.certificate === certificate && read.key === key && read.clientCa === clientCa) return;
    this.#current = read;
    this.#warned = undefined;
    this.#options.observer.replaced?.(read);
  }

  #warn(now: number): void {
    const due =
      this.#current.endsAt <= now ? 'ended' : endsSoon(this.#current, now) ? 'soon' : undefined;
    if (due === undefined || due === this.#warned) return;
    this.#warned = due;
    this.#options.observer.ending?.(this.#current, due === 'ended');
  }
}
