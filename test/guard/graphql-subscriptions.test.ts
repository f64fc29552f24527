import { EventEmitter, once } from 'node:events';
import { expect, test } from '@jest/globals';
import { Module } from '@nestjs/common';
import {
  Field,
  GraphQLModule,
  ObjectType,
  Query,
  ResolveField,
  Resolver,
  Subscription,
} from '@nestjs/graphql';
import type { MercuriusDriverConfig } from '@nestjs/mercurius';
import { WebSocket } from 'ws';
import {
  AllowCustomer,
  currentCallContext,
  JwtGuardModule,
  runWithPrincipal,
  type Principal,
} from '../../src/guard/index.js';
import { createIssuer } from './support/issuer.js';
import { loadMercurius } from './support/mercurius.js';
import { createApp, listen } from './support/nest-app.js';

const { MercuriusDriver } = await loadMercurius();

const STRANGER: Principal = {
  kind: 'customer',
  subject: 'stranger',
  clientId: undefined,
  issuer: 'https://issuer.example/',
  scopes: [],
  actor: undefined,
  claims: {},
};

/** Emits in whatever context publishes. */
const published = new EventEmitter();

const whoseCall = async (): Promise<string> => {
  await new Promise(setImmediate);
  return currentCallContext()?.principal.subject ?? 'nobody';
};

@ObjectType()
class Parcel {
  @Field(() => String)
  place!: string;
}

@Resolver(() => Parcel)
class ParcelsResolver {
  @Query(() => Parcel)
  @AllowCustomer()
  parcel(): Parcel {
    return { place: 'here' };
  }

  @Subscription(() => Parcel)
  @AllowCustomer()
  async *moved(): AsyncGenerator<{ moved: Parcel }> {
    yield { moved: { place: await whoseCall() } };
    await once(published, 'parcel');
    yield { moved: { place: await whoseCall() } };
  }

  @ResolveField(() => String)
  receiver(): Promise<string> {
    return whoseCall();
  }
}

test.each([{ enhancers: [] }, { enhancers: ['interceptors' as const] }])(
  'a subscription runs for whom it was let through, also its field resolvers: %j',
  async ({ enhancers }) => {
    const issuer = await createIssuer();
    @Module({
      imports: [
        GraphQLModule.forRoot<MercuriusDriverConfig>({
          driver: MercuriusDriver,
          autoSchemaFile: true,
          subscription: true,
          fieldResolverEnhancers: enhancers,
        }),
        JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options] }),
      ],
      providers: [ParcelsResolver],
    })
    class SubscriptionModule {}
    const app = await createApp(SubscriptionModule, 'fastify');
    const url = await listen(app);
    const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
      headers: { authorization: `Bearer ${await issuer.customerToken()}` },
    });
    const messages: unknown[] = [];
    const done = new Promise<void>((resolve) => {
      socket.on('message', (data: Buffer) => {
        const message = JSON.parse(data.toString()) as { type: string };
        messages.push(message);
        if (message.type === 'connection_ack') {
          const payload = { query: 'subscription { moved { place receiver } }' };
          socket.send(JSON.stringify({ id: '1', type: 'subscribe', payload }));
        }
        if (message.type === 'next') {
          // Long after: the context lives as long as the subscription.
          issuer.clock.advance(600_000);
          runWithPrincipal(STRANGER, 'a.b.c', () => published.emit('parcel'));
        }
        if (message.type === 'error' || message.type === 'complete') resolve();
      });
    });
    await once(socket, 'open');
    socket.send(JSON.stringify({ type: 'connection_init' }));
    await done;
    expect(messages.slice(1, 3)).toMatchObject([
      { payload: { data: { moved: { place: 'ann', receiver: 'ann' } } } },
      { payload: { data: { moved: { place: 'ann', receiver: 'ann' } } } },
    ]);
    socket.terminate();
    await once(socket, 'close');
    await app.close();
  },
);
