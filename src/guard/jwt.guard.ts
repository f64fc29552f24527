import { Inject, Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { Gatekeeper } from './gatekeeper.js';

/**
 * Lets a call through when its token is genuine and speaks for somebody whom the handler's decorators allow. A handler
 * without decorators is closed.
 *
 * `JwtGuardModule.forRoot` makes it the guard of the whole application, and `AllowCustomer()` and `AllowService()` bring it
 * along; name it yourself only where `global` is off and a handler without decorators has to be closed.
 *
 * @example
 * ```ts
 * import { Controller, UseGuards } from '@nestjs/common';
 * import { JwtGuard } from 'service-token-broker/guard';
 *
 * @Controller('orders')
 * @UseGuards(JwtGuard)
 * export class OrdersController {}
 * ```
 */
@Injectable()
export class JwtGuard implements CanActivate {
  constructor(@Inject(Gatekeeper) private readonly gatekeeper: Gatekeeper) {}

  canActivate(context: ExecutionContext): boolean | Promise<boolean> {
    return this.gatekeeper.admit(context);
  }
}
