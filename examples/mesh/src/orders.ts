import 'reflect-metadata';
import { HttpService } from '@nestjs/axios';
import { Controller, HttpCode, HttpException, Module, Post } from '@nestjs/common';
import { isAxiosError } from 'axios';
import { ServiceClientModule } from 'service-token-kit/client/nest';
import {
  AllowCustomer,
  AllowService,
  JwtGuardModule,
  RequireScopes,
} from 'service-token-kit/guard';
import { say, sayWhoCalls } from './say.js';
import { serve } from './serve.js';
import { clientOptions, guardOptions, setting } from './settings.js';

const billing = setting('BILLING_URL');

/** In the middle of the chain. No handler names a token: the call context says whose goes along. */
@Controller('orders')
class OrdersController {
  constructor(private readonly http: HttpService) {}

  /** A customer's call: billing is called with that customer's token. */
  @Post()
  @AllowCustomer()
  @RequireScopes('orders:write')
  async place(): Promise<object> {
    sayWhoCalls('orders', 'POST /orders');
    const { data } = await this.http.axiosRef.post<object>(`${billing}/invoices`);
    return data;
  }

  /** A service's call: billing is called with the service token. */
  @Post('settlement')
  @HttpCode(200)
  @AllowService()
  async settle(): Promise<object> {
    sayWhoCalls('orders', 'POST /orders/settlement');
    const { data } = await this.http.axiosRef.post<object>(`${billing}/invoices/settlement`);
    return data;
  }

  /** A mistake: what billing does for services alone, on a customer's behalf. The refusal is passed on. */
  @Post('write-off')
  @AllowCustomer()
  async writeOff(): Promise<void> {
    sayWhoCalls('orders', 'POST /orders/write-off');
    try {
      await this.http.axiosRef.post(`${billing}/invoices/settlement`);
    } catch (error) {
      if (!isAxiosError(error) || error.response === undefined) throw error;
      const { status } = error.response;
      say(
        'orders',
        `billing refused the customer's token (${status}); the service token was not sent instead`,
      );
      throw new HttpException('Billing refused that.', status);
    }
  }
}

@Module({
  imports: [
    JwtGuardModule.forRoot(guardOptions()),
    ServiceClientModule.forRoot(clientOptions(billing, { acceptsCustomers: true })),
  ],
  controllers: [OrdersController],
})
class OrdersModule {}

await serve('orders', OrdersModule);
