import { EventEmitter, on, once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, test } from '@jest/globals';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Module, type INestApplication } from '@nestjs/common';
import { GraphQLModule, Query, Resolver, Subscription } from '@nestjs/graphql';
import { createClient, type Client } from 'graphql-ws';
import { WebSocket } from 'ws';
import { AllowCustomer, JwtGuardModule, Public } from '../../src/guard/index.js';
import { currentBehalf } from '../../src/context/call-context.js';
import { createIssuer, type TestIssuer } from './support/issuer.js';
import { createApp, listen, PLATFORMS } from './support/nest-app.js';

const whose = async (): Promise<string> => {
  await new Promise(setImmediate);
  const behalf = currentBehalf();
  return typeof behalf === 'object' ? behalf.principal.subject : behalf;
};

/** Emits in whatever context publishes. */
const published = new EventEmitter();
const ended = new EventEmitter();

@Resolver()
class StepsResolver {
  @Query(() => String)
  @AllowCustomer()
  hello(): Promise<string> {
    return whose();
  }

  @Subscription(() => String)
  @AllowCustomer()
  async *steps(): AsyncGenerator<{ steps: string }> {
    try {
      yield { steps: await whose() };
      for await (const _ of on(published, 'step')) yield { steps: await whose() };
    } finally {
      ended.emit('end', await whose());
    }
  }

  @Subscription(() => String)
  @Public()
  async *open(): AsyncGenerator<{ open: string }> {
    yield { open: await whose() };
    await once(published, 'step');
    yield { open: await whose() };
  }
}

let issuer: TestIssuer;
let publishing: NodeJS.Timeout;
beforeAll(async () => {
  issuer = await createIssuer();
  // Again and again: a generator may not listen yet.
  publishing = setInterval(() => published.emit('step'), 2);
});
afterAll(() => clearInterval(publishing));

let app: INestApplication | undefined;
let client: Client | undefined;
afterEach(async () => {
  await client?.dispose();
  await app?.close();
});

type Context = (connection: { req?: object; extra?: { request: object } }) => object;

async function start(platform: 'fastify' | 'express', context?: Context): Promise<string> {
  @Module({
    imports: [
      GraphQLModule.forRoot<ApolloDriverConfig>({
        driver: ApolloDriver,
        autoSchemaFile: true,
        subscriptions: { 'graphql-ws': true },
        ...(context !== undefined && { context }),
      }),
      JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options] }),
    ],
    providers: [StepsResolver],
  })
  class ApolloModule {}
  app = await createApp(ApolloModule, platform);
  return listen(app);
}

interface Credentials {
  readonly headers?: Record<string, string>;
  readonly connectionParams?: Record<string, unknown>;
}

function connect(url: string, { headers = {}, connectionParams }: Credentials): Client {
  client = createClient({
    url: `${url.replace('http', 'ws')}/graphql`,
    webSocketImpl: class extends WebSocket {
      constructor(address: string, protocols: string | string[]) {
        super(address, protocols, { headers });
      }
    },
    retryAttempts: 0,
    ...(connectionParams !== undefined && { connectionParams }),
  });
  return client;
}

/** The first answers of a subscription, and an event before each but the first. */
async function ask(credentials: Credentials, url: string, field = 'steps'): Promise<unknown[]> {
  const answers: unknown[] = [];
  for await (const { data, errors } of connect(url, credentials).iterate({
    query: `subscription { ${field} }`,
  })) {
    answers.push(data?.[field] ?? errors?.map(({ extensions }) => extensions?.['code']));
    if (errors !== undefined || answers.length === 3) break;
    // Long after: the context lives as long as the subscription.
    issuer.clock.advance(600_000);
  }
  return answers;
}

describe.each(PLATFORMS)('subscriptions of Apollo on %s', (platform) => {
  const bearer = async (change = {}): Promise<string> =>
    `Bearer ${await issuer.customerToken({ ...change, exp: issuer.clock.seconds + 86_400 })}`;

  test.each<[string, Context | undefined]>([
    ['the default context', undefined],
    ['an empty context', () => ({})],
    ['the connection as the context', (connection) => connection],
    [
      'the request of the handshake',
      ({ req, extra }) => ({
        req: extra?.request ?? req,
      }),
    ],
  ])('act for whom the handshake names: %s', async (_, context) => {
    const url = await start(platform, context);
    const gone = once(ended, 'end');
    const headers = { authorization: await bearer() };
    await expect(ask({ headers }, url)).resolves.toEqual(['ann', 'ann', 'ann']);
    expect(await gone).toEqual(['ann']);
    // A query over HTTP is as before.
    const answer = await fetch(`${url}/graphql`, {
      method: 'POST',
      headers: { ...headers, 'content-type': 'application/json' },
      body: '{"query":"{ hello }"}',
    });
    expect(await answer.json()).toEqual({ data: { hello: 'ann' } });
  });

  test.each(['authorization', 'Authorization'])(
    'take the token of connectionParams.%s',
    async (name) => {
      const url = await start(platform);
      const connectionParams = { [name]: await bearer() };
      await expect(ask({ connectionParams }, url)).resolves.toEqual(['ann', 'ann', 'ann']);
      // The same token in both places is one.
      const both = {
        headers: { authorization: connectionParams[name] as string },
        connectionParams,
      };
      await expect(ask(both, url)).resolves.toEqual(['ann', 'ann', 'ann']);
    },
  );

  test('are refused without a token, and with two different ones', async () => {
    const url = await start(platform);
    await expect(ask({}, url)).resolves.toEqual([['UNAUTHENTICATED']]);
    const two = {
      headers: { authorization: await bearer() },
      connectionParams: { authorization: await bearer({ sub: 'bob' }) },
    };
    await expect(ask(two, url)).resolves.toEqual([['BAD_REQUEST']]);
    const ofService = { authorization: `Bearer ${await issuer.serviceToken()}` };
    await expect(ask({ connectionParams: ofService }, url)).resolves.toEqual([['FORBIDDEN']]);
  });

  test('that are public act for nobody', async () => {
    const url = await start(platform);
    await expect(ask({}, url, 'open')).resolves.toEqual(['nobody', 'nobody']);
  });
});
