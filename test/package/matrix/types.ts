// Compiled in the projects of the matrix, with every way to resolve modules that TypeScript has.
import { createTokenVerifier, type TokenVerifier } from 'service-token-kit';
import { createServiceTokenClient, type ServiceTokenClient } from 'service-token-kit/client';
import { ServiceClientModule } from 'service-token-kit/client/nest';
import { JwtGuardModule, type Principal } from 'service-token-kit/guard';
import { createOfflineTestIssuer } from 'service-token-kit/testing';

export async function use(): Promise<[TokenVerifier, ServiceTokenClient, Principal]> {
  const issuer = await createOfflineTestIssuer();
  const verifier = createTokenVerifier(issuer.verifierOptions());
  const client = createServiceTokenClient({
    brokers: 'https://broker.example.com',
    peer: { id: 'orders', secret: 'secret' },
  });
  JwtGuardModule.forRoot(issuer.verifierOptions());
  ServiceClientModule.forRoot({ tokens: client, origins: [] });
  const { principal } = await verifier.verify(issuer.serviceToken());
  // Types are not `any`.
  // @ts-expect-error
  verifier.noSuchMethod();
  // @ts-expect-error
  JwtGuardModule.noSuchMethod();
  // @ts-expect-error
  client.noSuchMethod();
  return [verifier, client, principal];
}
