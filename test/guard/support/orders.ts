import { Controller, Get, Module, Post, type DynamicModule } from '@nestjs/common';
import {
  AllowCustomer,
  AllowService,
  currentCallContext,
  CurrentPrincipal,
  JwtGuardModule,
  Public,
  RequireScopes,
  type JwtGuardModuleExtras,
  type JwtGuardModuleOptions,
  type Principal,
} from '../../../src/guard/index.js';

/** Who the handler sees, and who runs it, as a test can compare it. */
export interface Seen {
  readonly kind: string;
  readonly subject: string;
  readonly context: string | undefined;
  readonly hasToken: boolean;
}

export function seen(principal: Principal): Seen {
  const call = currentCallContext();
  return {
    kind: principal.kind,
    subject: principal.subject,
    context: call?.principal.subject,
    hasToken: (call?.token ?? '').split('.').length === 3,
  };
}

@Controller()
export class OrdersController {
  @Get('customer')
  @AllowCustomer()
  customer(@CurrentPrincipal() principal: Principal): Seen {
    return seen(principal);
  }

  @Get('service')
  @AllowService()
  service(@CurrentPrincipal() principal: Principal): Seen {
    return seen(principal);
  }

  @Get('job')
  @AllowService('job')
  job(@CurrentPrincipal() principal: Principal): Seen {
    return seen(principal);
  }

  @Get('both')
  @AllowCustomer()
  @AllowService()
  async both(@CurrentPrincipal() principal: Principal): Promise<Seen> {
    await new Promise(setImmediate);
    return seen(principal);
  }

  @Post('write')
  @AllowCustomer()
  @AllowService()
  @RequireScopes('orders:read', 'orders:write')
  write(@CurrentPrincipal() principal: Principal): Seen {
    return seen(principal);
  }

  @Get('public')
  @Public()
  public(): object {
    return { context: currentCallContext() === undefined ? 'nobody' : 'somebody' };
  }

  @Get('public-principal')
  @Public()
  publicPrincipal(@CurrentPrincipal() principal: Principal): Seen {
    return seen(principal);
  }

  @Get('undeclared')
  undeclared(): string {
    return 'open';
  }
}

/** The class says customers; the handlers change it or not. */
@Controller('class')
@AllowCustomer()
@RequireScopes('orders:read')
export class ClassController {
  @Get('inherits')
  inherits(@CurrentPrincipal() principal: Principal): Seen {
    return seen(principal);
  }

  @Get('service')
  @AllowService()
  service(@CurrentPrincipal() principal: Principal): Seen {
    return seen(principal);
  }

  @Get('public')
  @Public()
  public(): string {
    return 'open';
  }
}

/** What a subclass gets from its base. */
@Controller('subclass')
export class SubclassController extends ClassController {}

@Module({ controllers: [OrdersController, ClassController, SubclassController] })
export class OrdersModule {
  static with(options: JwtGuardModuleOptions & JwtGuardModuleExtras): DynamicModule {
    return { module: OrdersModule, imports: [JwtGuardModule.forRoot(options)] };
  }
}
