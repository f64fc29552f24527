import { createPublicKey } from 'node:crypto';
import { UnauthorizedException } from '@nestjs/common';
import { passportJwt, VERIFIERS } from './verifiers.js';

/** What guards a Nest route in place of the guard: `@nestjs/passport` as its documentation has it, or a guard by hand around a library. */
export async function routeGuard(name, { jwks }) {
  const [jwk] = jwks.keys;
  const issuer = { alg: jwk.alg, jwks, publicKey: createPublicKey({ key: jwk, format: 'jwk' }) };
  if (name === 'passport-jwt') return passportGuard(issuer);
  const verify = await VERIFIERS[name](issuer);
  const guard = {
    canActivate: async (context) => {
      const request = context.switchToHttp().getRequest();
      const [, token] = /^Bearer (\S+)$/.exec(request.headers.authorization ?? '') ?? [];
      if (token === undefined) throw new UnauthorizedException();
      try {
        request.user = await verify(token);
      } catch {
        throw new UnauthorizedException();
      }
      return true;
    },
  };
  return { guard, providers: [] };
}

async function passportGuard(issuer) {
  const { AuthGuard, PassportStrategy } = await import('@nestjs/passport');
  const { options, Strategy } = passportJwt(issuer);
  class JwtStrategy extends PassportStrategy(Strategy) {
    constructor() {
      super(options);
    }
    validate(claims) {
      return claims;
    }
  }
  return { guard: AuthGuard('jwt'), providers: [JwtStrategy] };
}
