import 'reflect-metadata';
import { HttpService } from '@nestjs/axios';
import { Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { RunAsService, ServiceClientModule } from 'service-token-kit/client/nest';
import { say } from './say.js';
import { clientOptions, setting } from './settings.js';

const orders = setting('ORDERS_URL');

/** Nobody calls it: its decorator says that it acts as this service, so that its calls carry the service token. */
@Injectable()
class Settlement {
  constructor(private readonly http: HttpService) {}

  @RunAsService()
  async run(): Promise<void> {
    const { data } = await this.http.axiosRef.post<{ settled: number }>(
      `${orders}/orders/settlement`,
      undefined,
      { headers: { 'x-request-id': 'night-1' } },
    );
    say('job', `settled ${data.settled} invoices`);
  }
}

@Module({
  imports: [ServiceClientModule.forRoot(clientOptions(orders, { acceptsCustomers: false }))],
  providers: [Settlement],
})
class JobModule {}

const app = await NestFactory.createApplicationContext(JobModule, { logger: ['warn', 'error'] });
await app.get(Settlement).run();
await app.close();
