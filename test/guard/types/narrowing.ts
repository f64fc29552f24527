// Compiled, never run: see test/package/types.test.ts. A line after `@ts-expect-error` must not compile.
import {
  AllowCustomer,
  AllowService,
  CurrentPrincipal,
  decideAccess,
  JwtGuardModule,
  Public,
  RequireClaims,
  RequireScopes,
  type CustomerPrincipal,
  type JwtGuardModuleOptions,
  type Principal,
  type ServicePrincipal,
  type TokenVerifier,
} from '../../../src/guard/index.js';

declare const principal: Principal;
declare const verifier: TokenVerifier;
declare const options: JwtGuardModuleOptions;

type Same<A, B> = [A, B] extends [B, A] ? true : false;

true satisfies Same<Principal['kind'], 'customer' | 'service'>;
true satisfies Same<Principal, CustomerPrincipal | ServicePrincipal>;
// @ts-expect-error: the union is not one kind, and Same does not accept everything
true satisfies Same<Principal, ServicePrincipal>;

export function narrowed(): string {
  if (principal.kind === 'service') {
    true satisfies Same<typeof principal, ServicePrincipal>;
    return principal.clientId.toUpperCase();
  }
  true satisfies Same<typeof principal, CustomerPrincipal>;
  // @ts-expect-error: a customer's client is not known at every provider
  principal.clientId.toUpperCase();
  return principal.subject;
}

export function exhausted(): string {
  switch (principal.kind) {
    case 'customer':
      return principal.subject;
    case 'service':
      return principal.clientId;
    default:
      principal satisfies never;
      return '';
  }
}

// @ts-expect-error: the kind must be checked before the client id is used
export const unasked: string = principal.clientId;
// @ts-expect-error: there is no third kind
export const isAdmin = principal.kind === 'admin';
// @ts-expect-error: one kind is not the other
export const wrongKind: ServicePrincipal = principal as CustomerPrincipal;
// @ts-expect-error: a principal is not changed
principal.subject = 'admin';
// @ts-expect-error: nor are its scopes
principal.scopes.push('admin');
// @ts-expect-error: a claim may be anything until it is checked
export const claim: string = principal.claims['email'];

@AllowCustomer()
export class Decorated {
  @AllowCustomer()
  @AllowService()
  @RequireScopes('a', 'b')
  both(@CurrentPrincipal() who: Principal): string {
    return who.subject;
  }

  @AllowService('a', { clientId: 'b', issuer: 'https://issuer.example/' })
  named(@CurrentPrincipal() who: ServicePrincipal): string {
    return who.clientId;
  }

  @AllowService(['a', 'b'])
  listed(): void {}

  @AllowCustomer()
  @RequireClaims({ tenant: 'acme', level: 3, plan: { oneOf: ['pro', 'team'] } })
  @RequireClaims({ roles: { includes: ['admin', 'ops'] }, groups: { includesAny: ['a'] } })
  @RequireClaims((claims, who) => claims['owner'] === who.subject, 'the owner')
  claimed(): void {}

  @Public()
  open(): void {}

  // @ts-expect-error: decorators for handlers do not stand on properties
  @AllowCustomer()
  field = 1;
}

// @ts-expect-error: a client of an issuer needs the issuer
AllowService({ clientId: 'a' });
// @ts-expect-error: a client id is text
AllowService(7);
// @ts-expect-error: no scope would require nothing
RequireScopes();
// @ts-expect-error: a list could mean one of them or all of them
RequireClaims({ roles: ['admin'] });
// @ts-expect-error: a mistyped form
RequireClaims({ roles: { include: 'admin' } });
// @ts-expect-error: scopes have a decorator of their own
RequireClaims({ scope: 'orders:read' });
// @ts-expect-error: a variable that may not be set would require nothing
RequireClaims({ tenant: process.env['TENANT'] });
// @ts-expect-error: a check says in words what it requires
RequireClaims(() => true);
// @ts-expect-error: a check cannot be awaited
RequireClaims(async () => true, 'something');
// @ts-expect-error: customers are not named
AllowCustomer('ann');

JwtGuardModule.forRoot(options);
JwtGuardModule.forRoot({ verifier, guardEveryHandler: false, realm: 'orders' });
JwtGuardModule.forRootAsync({ useFactory: () => options, guardEveryHandler: false });
// @ts-expect-error: neither a verifier nor issuers
JwtGuardModule.forRoot({ realm: 'orders' });
// @ts-expect-error: a mistyped option
JwtGuardModule.forRoot({ verifier, relm: 'orders' });

const decision = decideAccess({ kind: 'public' }, undefined);
// @ts-expect-error: a refusal is there only when it is not allowed
export const refusal = decision.refusal;
export const status = decision.allowed ? 200 : decision.refusal.status;
