import { readFile } from 'node:fs/promises';
import type { JwtGuardModuleOptions } from 'service-token-kit/guard';
import { createRemoteKeySet } from 'service-token-kit/guard';
import type { PeerOptions } from 'service-token-kit/client';
import type { ServiceClientModuleOptions } from 'service-token-kit/client/nest';

/** The setting of this name, which `main.ts` gives to each process. */
export function setting(name: string): string {
  const value = process.env[name];
  if (value === undefined || value === '') throw new Error(`Set ${name}. main.ts does.`);
  return value;
}

/** Whose tokens a service of the mesh accepts. */
export function guardOptions(): JwtGuardModuleOptions {
  const issuer = setting('ISSUER');
  return {
    issuers: [
      {
        issuer,
        audiences: setting('AUDIENCE'),
        profile: 'rfc9068',
        keys: createRemoteKeySet({ jwksUri: `${issuer}/jwks` }),
      },
    ],
  };
}

/** Who the service is to the broker. Files are read for each request, so that a new secret or token needs no restart. */
function peerOptions(): PeerOptions {
  const file = process.env['WORKLOAD_TOKEN_FILE'];
  if (file !== undefined) return { workloadToken: () => readFile(file, 'utf8') };
  return {
    id: setting('PEER_ID'),
    secret: async () =>
      (JSON.parse(await readFile(setting('PEER_FILE'), 'utf8')) as { secret: string }).secret,
  };
}

/** How a service of the mesh calls another one. */
export function clientOptions(
  origin: string,
  { acceptsCustomers }: { readonly acceptsCustomers: boolean },
): ServiceClientModuleOptions {
  return {
    broker: {
      brokers: setting('BROKER_URL'),
      peer: peerOptions(),
    },
    origins: [{ origin, acceptsCustomers }],
    axios: { timeout: 10_000 },
  };
}
