import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';

/** A certificate and its key. */
export interface MadeCertificate {
  readonly commonName: string;
  readonly privateKey: KeyObject;
  /** PEM. */
  readonly key: string;
  /** PEM. */
  readonly cert: string;
}

/** What a certificate says. */
export interface CertificateOptions {
  readonly commonName?: string;
  /** Who signs it. Default: itself. */
  readonly issuer?: MadeCertificate;
  /** Whether it may sign others. Default: no. */
  readonly isAuthority?: boolean;
  readonly uris?: readonly string[];
  readonly dns?: readonly string[];
  readonly addresses?: readonly string[];
  /** Default: for every purpose. */
  readonly purpose?: 'server' | 'client';
  /** From when until when it is valid, in days from now. Default: from yesterday until tomorrow. */
  readonly days?: readonly [from: number, until: number];
}

let serial = 0;

/** Makes a certificate with a new key (RFC 5280), so that no key has to be kept with the tests. */
export function makeCertificate(options: CertificateOptions = {}): MadeCertificate {
  const { commonName = 'test', issuer, isAuthority = false, purpose, days = [-1, 1] } = options;
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  // RFC 5280 §4.2.1.6: tags 6, 2 and 7 of a GeneralName.
  const names = [
    ...(options.uris ?? []).map((uri) => der(0x86, Buffer.from(uri, 'latin1'))),
    ...(options.dns ?? []).map((name) => der(0x82, Buffer.from(name, 'latin1'))),
    ...(options.addresses ?? []).map((ip) => der(0x87, Buffer.from(ip.split('.').map(Number)))),
  ];
  const extensions = [
    ...(names.length > 0 ? [extension('551d11', der(0x30, ...names))] : []),
    ...(isAuthority ? [extension('551d13', der(0x30, Buffer.from('0101ff', 'hex')))] : []),
    ...(purpose === undefined ? [] : [extension('551d25', der(0x30, oid(PURPOSES[purpose])))]),
  ];
  serial += 1;
  const toBeSigned = der(
    0x30,
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.from([1, serial >> 8, serial & 0xff])),
    ECDSA_WITH_SHA256,
    nameOf(issuer?.commonName ?? commonName),
    der(0x30, time(days[0]), time(days[1])),
    nameOf(commonName),
    publicKey.export({ type: 'spki', format: 'der' }),
    ...(extensions.length > 0 ? [der(0xa3, der(0x30, ...extensions))] : []),
  );
  const signature = sign('sha256', toBeSigned, issuer?.privateKey ?? privateKey);
  const bytes = der(0x30, toBeSigned, ECDSA_WITH_SHA256, der(0x03, Buffer.from([0]), signature));
  const lines = bytes
    .toString('base64')
    .match(/.{1,64}/g)
    ?.join('\n');
  return {
    commonName,
    privateKey,
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    cert: `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`,
  };
}

/**
 * A self-signed certificate for 127.0.0.1 and localhost, and its key.
 *
 * @param commonName its subject's CN; two that a server is to trust need different ones.
 * @param days from when until when it is valid, in days from now.
 */
export function selfSignedCertificate(
  commonName?: string,
  days?: readonly [from: number, until: number],
): Pick<MadeCertificate, 'key' | 'cert'> {
  const { key, cert } = makeCertificate({
    dns: ['localhost'],
    addresses: ['127.0.0.1'],
    ...(commonName !== undefined && { commonName }),
    ...(days && { days }),
  });
  return { key, cert };
}

const ECDSA_WITH_SHA256 = Buffer.from('300a06082a8648ce3d040302', 'hex');
const PURPOSES = { server: '2b06010505070301', client: '2b06010505070302' } as const;

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, 'hex'));
}

function extension(id: string, value: Buffer): Buffer {
  return der(0x30, oid(id), der(0x04, value));
}

function nameOf(commonName: string): Buffer {
  return der(0x30, der(0x31, der(0x30, oid('550403'), der(0x0c, Buffer.from(commonName)))));
}

/** One element of DER (X.690 §8.1): tag, length, content. */
function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

/** A UTCTime, so many days from now. */
function time(days: number): Buffer {
  const digits = new Date(Date.now() + days * 86_400_000).toISOString().replaceAll(/[-:T]/g, '');
  return der(0x17, Buffer.from(`${digits.slice(2, 14)}Z`));
}
