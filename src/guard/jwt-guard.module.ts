import { Module } from '@nestjs/common';
import { ConfigurableModuleClass } from './jwt-guard.module-definition.js';

/**
 * Guards an application: every handler is closed until a decorator says who may call it.
 *
 * Import it once, in the root module. Decorators are checked before the application starts.
 *
 * @throws {VerifierConfigError} when an option of the verifier is missing or wrong.
 * @throws {GuardConfigError} when one of the guard is, and when decorators contradict one another.
 *
 * @example
 * ```ts
 * import { Module } from '@nestjs/common';
 * import { createRemoteKeySet, JwtGuardModule } from 'service-token-broker/guard';
 *
 * @Module({
 *   imports: [
 *     JwtGuardModule.forRoot({
 *       issuers: [
 *         {
 *           issuer: 'https://tenant.eu.auth0.com/',
 *           audiences: 'https://orders.example.com',
 *           profile: 'auth0',
 *           keys: createRemoteKeySet({ jwksUri: 'https://tenant.eu.auth0.com/.well-known/jwks.json' }),
 *         },
 *       ],
 *     }),
 *   ],
 * })
 * export class AppModule {}
 * ```
 *
 * `forRootAsync` takes `useFactory`, `inject` and `imports`; `global` stands beside them.
 */
@Module({})
export class JwtGuardModule extends ConfigurableModuleClass {}
