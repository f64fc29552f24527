import 'reflect-metadata';
import { Controller, HttpCode, Module, Post } from '@nestjs/common';
import {
  AllowCustomer,
  AllowService,
  CurrentPrincipal,
  JwtGuardModule,
  type CustomerPrincipal,
} from 'service-token-kit/guard';
import { sayWhoCalls } from './say.js';
import { serve } from './serve.js';
import { guardOptions } from './settings.js';

/** The last service of the chain: it is called, and calls nobody. */
@Controller('invoices')
class InvoicesController {
  readonly #open: string[] = [];

  @Post()
  @AllowCustomer()
  create(@CurrentPrincipal() customer: CustomerPrincipal): { readonly invoiceFor: string } {
    sayWhoCalls('billing', 'POST /invoices');
    this.#open.push(customer.subject);
    return { invoiceFor: customer.subject };
  }

  @Post('settlement')
  @HttpCode(200)
  @AllowService()
  settle(): { readonly settled: number } {
    sayWhoCalls('billing', 'POST /invoices/settlement');
    return { settled: this.#open.splice(0).length };
  }
}

@Module({
  imports: [JwtGuardModule.forRoot(guardOptions())],
  controllers: [InvoicesController],
})
class BillingModule {}

await serve('billing', BillingModule);
