import { createPrivateKey, X509Certificate, type KeyObject } from 'node:crypto';
import type { Agent } from 'node:http';
import { createSecureContext } from 'node:tls';
import { systemCode } from '../tokens/http.js';
import { exchangeOverNode, type Exchange } from '../tokens/node-exchange.js';
import type { CertificateCredentials } from './client-credentials.js';
import { invalidProof, readProofFile } from './client-proofs.js';

/** A client certificate with its private key, examined. */
export interface ClientCertificate {
  /** PEM: the certificate, and the intermediate ones after it. */
  readonly certificate: string;
  /** PEM. */
  readonly key: string;
  /** The subject's name, on one line: `CN=broker, O=Example`. */
  readonly subject: string;
  /** Milliseconds since the Unix epoch. */
  readonly startsAt: number;
  /** Milliseconds since the Unix epoch. */
  readonly endsAt: number;
}

/**
 * Reads the client certificate and its key. Files are read at every mint, so that a certificate that was renewed on the
 * disk is used at the next one.
 *
 * @throws {ProviderError} `CLIENT_PROOF_INVALID`, as {@link judgeCertificate}, and for files that cannot be read.
 */
export async function loadCertificate(
  { from, certificate, key }: CertificateCredentials,
  now: number,
): Promise<ClientCertificate> {
  if (from === 'credentials secret') {
    return judgeCertificate(certificate, key, 'the credentials secret', now);
  }
  const place = `${certificate} and ${key}`;
  const [cert, privateKey] = await Promise.all([
    readProofFile(certificate, 'client certificate'),
    readProofFile(key, 'key of the client certificate'),
  ]);
  return judgeCertificate(cert, privateKey, place, now);
}

/**
 * Whether a certificate and a key can be used for mutual TLS now. Pure.
 *
 * @param place where they came from, for messages.
 * @param now milliseconds since the Unix epoch.
 * @throws {ProviderError} `CLIENT_PROOF_INVALID` when one of them is not PEM, the key is encrypted or of another
 *   certificate, or the certificate has expired or is not valid yet. No message quotes the key.
 */
export function judgeCertificate(
  certificate: string,
  key: string,
  place: string,
  now: number,
): ClientCertificate {
  const judged = judgePair(certificate, key, now);
  if (typeof judged !== 'string') return judged;
  throw invalidProof(`The client certificate of ${place} cannot be used: ${judged}.`);
}

/**
 * Whether a certificate and a key can be used for TLS now. Pure.
 *
 * @param now milliseconds since the Unix epoch.
 * @returns what is wrong, without a quote from the key, when they cannot.
 */
export function judgePair(
  certificate: string,
  key: string,
  now: number,
): ClientCertificate | string {
  let x509: X509Certificate;
  try {
    x509 = new X509Certificate(certificate);
  } catch {
    return 'it is not a certificate in PEM ("-----BEGIN CERTIFICATE-----")';
  }
  if (key.includes('ENCRYPTED')) {
    return 'its key is encrypted; decrypt it: openssl pkey -in key.pem -out key-plain.pem';
  }
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey(key);
  } catch {
    // The reason may quote the key.
    return 'its key is not a private key in PEM';
  }
  if (!x509.checkPrivateKey(privateKey)) {
    return 'the key belongs to another certificate. Put the two that were made together there';
  }
  const [startsAt, endsAt] = [Date.parse(x509.validFrom), Date.parse(x509.validTo)];
  if (endsAt <= now) {
    return `it expired at ${new Date(endsAt).toISOString()}, and it is ${new Date(now).toISOString()} here. Renew it`;
  }
  if (startsAt > now) {
    return `it is valid from ${new Date(startsAt).toISOString()}, and it is ${new Date(now).toISOString()} here. Compare the clocks`;
  }
  try {
    createSecureContext({ cert: certificate, key });
  } catch (error) {
    return `TLS does not take it (${systemCode(error) ?? 'unknown reason'})`;
  }
  const subject = x509.subject.replaceAll(/[\p{Cc}\s]+/gu, ' ').trim();
  return { certificate, key, subject: subject.split(' ').join(', '), startsAt, endsAt };
}

/**
 * Sends a request over mutual TLS, which `fetch` cannot without a further package. Its connection ends with the response:
 * one that was kept open would be that of a certificate that may have been replaced. Redirects are not followed.
 *
 * @param ca certificates of authorities, in PEM, trusted in place of Node's own and NODE_EXTRA_CA_CERTS.
 * @param agentFor makes the agent for a URL, which keeps no connection open. Default: none.
 */
export function exchangeWith(
  { certificate, key }: ClientCertificate,
  ca?: readonly string[],
  agentFor?: (url: URL) => Agent,
): Exchange {
  const trusted = ca === undefined ? {} : { ca: [...ca] };
  return exchangeOverNode((url) => ({
    ...trusted,
    cert: certificate,
    key,
    agent: agentFor?.(url) ?? false,
  }));
}
