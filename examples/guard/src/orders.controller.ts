import {
  BadRequestException,
  Body,
  Controller,
  Delete,
  Get,
  HttpCode,
  NotFoundException,
  Param,
  ParseIntPipe,
  Post,
} from '@nestjs/common';
import {
  AllowCustomer,
  AllowService,
  CurrentPrincipal,
  Public,
  RequireScopes,
  type CustomerPrincipal,
  type Principal,
} from 'service-token-kit/guard';
import { Orders, type Order } from './orders.js';

@Controller('orders')
export class OrdersController {
  constructor(private readonly orders: Orders) {}

  /** Customers place orders, with a token that has the scope. */
  @Post()
  @AllowCustomer()
  @RequireScopes('orders:write')
  place(@CurrentPrincipal() customer: CustomerPrincipal, @Body('item') item: unknown): Order {
    if (typeof item !== 'string') throw new BadRequestException('"item" must be a string.');
    return this.orders.place(customer.issuer, customer.subject, item);
  }

  /** A nightly job of another service settles them: no customer is involved. */
  @Post('settlement')
  @HttpCode(200)
  @AllowService()
  settle(): { readonly settled: number } {
    return { settled: this.orders.settle() };
  }

  /** Both may look: a customer at their own orders, a service at any. */
  @Get(':id')
  @AllowCustomer()
  @AllowService()
  show(@Param('id', ParseIntPipe) id: number, @CurrentPrincipal() principal: Principal): Order {
    const order = this.orders.find(id);
    if (order === undefined || !maySee(principal, order)) throw new NotFoundException();
    return order;
  }

  /** Nobody may: no decorator says who. */
  @Delete(':id')
  remove(): void {
    throw new Error('The guard lets nobody in.');
  }
}

@Controller('health')
export class HealthController {
  /** Everybody may, without a token. */
  @Get()
  @Public()
  live(): { readonly status: string } {
    return { status: 'ok' };
  }
}

function maySee(principal: Principal, order: Order): boolean {
  if (principal.kind === 'service') return true;
  return principal.subject === order.customer && principal.issuer === order.issuer;
}
