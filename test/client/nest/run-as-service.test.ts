import { EventEmitter, once } from 'node:events';
import { HttpService } from '@nestjs/axios';
import { Inject, Injectable, Module } from '@nestjs/common';
import { Interval, ScheduleModule, Timeout } from '@nestjs/schedule';
import { Test } from '@nestjs/testing';
import { expect, test } from '@jest/globals';
import { RunAsService, ServiceClientModule } from '../../../src/client/nest/index.js';
import { startCallee } from '../attachment/support/callee.js';
import { ScriptedTokens } from '../attachment/support/scripted-tokens.js';

const done = new EventEmitter();

@Injectable()
class Jobs {
  constructor(@Inject(HttpService) private readonly http: HttpService) {}

  @Interval(2)
  @RunAsService()
  above(): Promise<void> {
    return this.#call('above');
  }

  @RunAsService()
  @Timeout(2)
  below(): Promise<void> {
    return this.#call('below');
  }

  @Interval(2)
  unsaid(): Promise<void> {
    return this.#call('unsaid');
  }

  async #call(name: string): Promise<void> {
    const outcome = await this.http.axiosRef.get<unknown>(`/${name}`).then(
      ({ status }) => status,
      (error: { code: string }) => error.code,
    );
    done.emit(name, outcome);
  }
}

test('jobs of @nestjs/schedule call as this service with RunAsService(), and are refused without it', async () => {
  const callee = await startCallee();
  @Module({
    imports: [
      ScheduleModule.forRoot(),
      ServiceClientModule.forRoot({
        tokens: new ScriptedTokens('service.token'),
        origins: [{ origin: callee.origin, acceptsCustomers: true }],
        axios: { baseURL: callee.origin },
      }),
    ],
    providers: [Jobs],
  })
  class JobsModule {}
  const application = await Test.createTestingModule({ imports: [JobsModule] }).compile();
  const outcomes = Promise.all(['above', 'below', 'unsaid'].map((name) => once(done, name)));
  await application.init();
  expect(await outcomes).toEqual([[200], [200], ['CALL_CONTEXT_UNKNOWN']]);
  await application.close();
  expect(callee.arrivals.map(({ url }) => url)).not.toContain('/unsaid');
  expect(new Set(callee.tokens())).toEqual(new Set(['Bearer service.token']));
});
