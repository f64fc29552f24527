import { generateKeyPairSync, randomUUID, sign } from 'node:crypto';
import { once } from 'node:events';
import { rename, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Plays a Kubernetes cluster: it issues a token for each service account, and keeps it in a file of the pod. */
export interface Cluster {
  readonly issuer: string;
  readonly jwksUri: string;
  /** Writes the token of a service account for an audience, as a projected volume has it, and keeps it fresh. */
  project(serviceAccount: string, audience: string, file: string): Promise<void>;
  stop(): void;
}

/** How long a token lives and how often it is replaced, in seconds. */
const LIFE = 600;
const REFRESH = 480;

export async function startCluster(): Promise<Cluster> {
  const issuer = 'https://cluster.mesh.test';
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const kid = randomUUID();
  const jwk = { ...publicKey.export({ format: 'jwk' }), kid, alg: 'RS256', use: 'sig' };
  const server = createServer((_request, response) => {
    response.setHeader('content-type', 'application/jwk-set+json');
    response.end(JSON.stringify({ keys: [jwk] }));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const issue = (subject: string, audience: string): string => {
    const iat = Math.floor(Date.now() / 1_000);
    const times = { iat, nbf: iat, exp: iat + LIFE };
    const claims = { iss: issuer, sub: subject, aud: [audience], jti: randomUUID(), ...times };
    const signed = `${part({ alg: 'RS256', kid })}.${part(claims)}`;
    return `${signed}.${sign('sha256', Buffer.from(signed), privateKey).toString('base64url')}`;
  };

  return {
    issuer,
    jwksUri: `http://127.0.0.1:${(server.address() as AddressInfo).port}/openid/v1/jwks`,
    async project(serviceAccount, audience, file) {
      const write = async (): Promise<void> => {
        const token = issue(`system:serviceaccount:${serviceAccount}`, audience);
        // As the kubelet does: a reader sees the old file or the new one, never a part of it.
        await writeFile(`${file}.new`, token, { mode: 0o600 });
        await rename(`${file}.new`, file);
      };
      await write();
      setInterval(() => void write(), REFRESH * 1_000).unref();
    },
    stop() {
      server.close();
      server.closeAllConnections();
    },
  };
}
