import { Module, type DynamicModule } from '@nestjs/common';
import { createRemoteKeySet, JwtGuardModule } from 'service-token-kit/guard';
import { HealthController, OrdersController } from './orders.controller.js';
import { Orders } from './orders.js';
import type { Settings } from './settings.js';

@Module({})
export class AppModule {
  static with({ issuer, jwksUri, audience }: Settings): DynamicModule {
    return {
      module: AppModule,
      imports: [
        JwtGuardModule.forRoot({
          realm: 'orders',
          issuers: [
            {
              issuer,
              audiences: audience,
              profile: 'rfc9068',
              typ: 'at+jwt',
              keys: createRemoteKeySet({ jwksUri }),
            },
          ],
        }),
      ],
      controllers: [OrdersController, HealthController],
      providers: [Orders],
    };
  }
}
