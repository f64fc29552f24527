import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { Module, type INestApplication, type Provider } from '@nestjs/common';
import {
  Field,
  GraphQLModule,
  Int,
  ObjectType,
  Parent,
  Query,
  ResolveField,
  Resolver,
} from '@nestjs/graphql';
import type { MercuriusDriverConfig } from '@nestjs/mercurius';
import {
  AllowCustomer,
  AllowService,
  currentCallContext,
  CurrentPrincipal,
  JwtGuardModule,
  Public,
  type Principal,
} from '../../src/guard/index.js';
import { createIssuer, type TestIssuer } from './support/issuer.js';
import { loadMercurius } from './support/mercurius.js';
import { createApp, KeptLog, listen } from './support/nest-app.js';

const { MercuriusDriver } = await loadMercurius();

@ObjectType()
class Order {
  @Field(() => String)
  owner!: string;
}

@Resolver(() => Order)
class OrdersResolver {
  @Query(() => Order)
  @AllowCustomer()
  async mine(@CurrentPrincipal() principal: Principal): Promise<Order> {
    await new Promise(setImmediate);
    return { owner: `${principal.subject} ${currentCallContext()?.principal.kind ?? 'nobody'}` };
  }

  @Query(() => Order)
  @AllowService()
  all(@CurrentPrincipal() principal: Principal): Order {
    return { owner: principal.subject };
  }

  @Query(() => Order)
  @Public()
  async example(): Promise<Order> {
    await new Promise(setImmediate);
    return { owner: currentCallContext() === undefined ? 'nobody' : 'somebody' };
  }

  @Query(() => Order)
  forgotten(): Order {
    return { owner: 'open' };
  }

  @Query(() => Order, { nullable: true })
  @AllowService()
  ledger(): Order {
    return { owner: 'open' };
  }

  @ResolveField(() => String)
  @AllowService()
  cost(@Parent() order: Order, @CurrentPrincipal() principal: Principal): string {
    return `${order.owner} for ${principal.subject}`;
  }
}

@ObjectType()
class Invoice {
  @Field(() => Int)
  id!: number;
}

/** With a field resolver of the usual kind: Nest runs no guard for it, and nothing is declared on it. */
@Resolver(() => Invoice)
class InvoicesResolver {
  @Query(() => Invoice)
  @AllowCustomer()
  async invoice(): Promise<Invoice> {
    await new Promise(setImmediate);
    return { id: currentCallContext()?.principal.kind === 'customer' ? 1 : 0 };
  }

  @Query(() => Invoice)
  @Public()
  async sample(): Promise<Invoice> {
    await new Promise(setImmediate);
    return { id: currentCallContext() === undefined ? 1 : 0 };
  }

  @ResolveField(() => String)
  async payer(): Promise<string> {
    await new Promise(setImmediate);
    return currentCallContext()?.principal.subject ?? 'nobody';
  }
}

type Enhancers = ('guards' | 'interceptors')[];

function moduleWith(
  issuer: TestIssuer,
  fieldResolverEnhancers: Enhancers,
  provider: Provider = OrdersResolver,
) {
  @Module({
    imports: [
      GraphQLModule.forRoot<MercuriusDriverConfig>({
        driver: MercuriusDriver,
        autoSchemaFile: true,
        fieldResolverEnhancers,
      }),
      JwtGuardModule.forRoot({ clock: issuer.clock, issuers: [issuer.options] }),
    ],
    providers: [provider],
  })
  class GraphqlModule {}
  return GraphqlModule;
}

interface Answer {
  readonly data: Readonly<Record<string, unknown>> | null;
  readonly errors?: readonly {
    readonly message: string;
    readonly path: readonly string[];
    readonly extensions?: object;
  }[];
}

describe('over GraphQL', () => {
  let issuer: TestIssuer;
  let app: INestApplication;
  let url: string;
  const log = new KeptLog();

  beforeAll(async () => {
    issuer = await createIssuer();
    app = await createApp(moduleWith(issuer, ['guards', 'interceptors']), 'fastify', log);
    url = await listen(app);
  });

  afterAll(() => app.close());

  const ask = async (query: string, token?: string): Promise<Answer> => {
    const response = await fetch(`${url}/graphql`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      },
      body: JSON.stringify({ query: `{ ${query} }` }),
    });
    return (await response.json()) as Answer;
  };

  test('each field is judged by its own resolver', async () => {
    const token = await issuer.customerToken();
    const { data, errors } = await ask('mine { owner }', token);
    expect(errors).toBeUndefined();
    expect(data).toEqual({ mine: { owner: 'ann customer' } });
    const refused = await ask('all { owner }', token);
    expect(refused.data).toBeNull();
    expect(refused.errors).toMatchObject([
      {
        message: 'Only services may do this.',
        path: ['all'],
        extensions: { code: 'FORBIDDEN', error: 'insufficient_scope' },
      },
    ]);
  });

  test('a public field beside a customer’s runs for nobody', async () => {
    const { data } = await ask(
      'a: example { owner } b: mine { owner } c: example { owner }',
      await issuer.customerToken(),
    );
    expect(data).toEqual({
      a: { owner: 'nobody' },
      b: { owner: 'ann customer' },
      c: { owner: 'nobody' },
    });
  });

  test('a refused field takes nothing from those beside it', async () => {
    const token = await issuer.customerToken();
    // The second time the token is remembered, and the fields are judged while the first one runs.
    for (let round = 0; round < 2; round += 1) {
      const { data, errors } = await ask(
        'a: mine { owner } ledger { owner } b: mine { owner }',
        token,
      );
      const ann = { owner: 'ann customer' };
      expect(data).toEqual({ a: ann, ledger: null, b: ann });
      expect(errors).toMatchObject([{ path: ['ledger'] }]);
    }
  });

  test.each([
    ['no token', undefined, { code: 'UNAUTHENTICATED' }],
    ['nonsense', 'nonsense', { code: 'UNAUTHENTICATED', error: 'invalid_token' }],
    ['two tokens', 'a, Bearer b', { code: 'BAD_REQUEST', error: 'invalid_request' }],
  ])('%s', async (_, token, extensions) => {
    const { data, errors } = await ask('mine { owner }', token);
    expect(data).toBeNull();
    expect(errors).toHaveLength(1);
    expect(errors?.[0]?.extensions).toEqual(extensions);
  });

  test('without decorators: closed', async () => {
    const { data, errors } = await ask('forgotten { owner }', await issuer.serviceToken());
    expect(data).toBeNull();
    expect(errors).toMatchObject([{ message: 'Forbidden.', extensions: { code: 'FORBIDDEN' } }]);
    expect(log.of('warn').join('\n')).toContain('OrdersResolver.forgotten');
  });

  test('a decorated field resolver is guarded too', async () => {
    await expect(ask('all { cost }', await issuer.serviceToken())).resolves.toEqual({
      data: { all: { cost: 'job for job' } },
    });
    const refused = await ask('example { cost }', await issuer.customerToken());
    expect(refused.errors).toMatchObject([{ path: ['example', 'cost'] }]);
  });

  test('interleaved operations never see one another’s principal', async () => {
    const subjects = Array.from({ length: 30 }, (_, index) => `customer-${index}`);
    const answers = await Promise.all(
      subjects.map(async (sub) => ask('mine { owner }', await issuer.customerToken({ sub }))),
    );
    expect(answers.map(({ data }) => data)).toEqual(
      subjects.map((sub) => ({ mine: { owner: `${sub} customer` } })),
    );
  });

  test('no token is in any log line', () => {
    expect(log.lines.join('\n')).not.toMatch(/eyJ/);
  });

  test.each([
    [[], '"guards" and "interceptors"'],
    [['guards' as const], '"interceptors"'],
  ])(
    'a decorated field resolver with the enhancers %j stops the start',
    async (enhancers, missing) => {
      await expect(createApp(moduleWith(issuer, enhancers), 'fastify')).rejects.toMatchObject({
        code: 'GUARD_MISCONFIGURED',
        message: expect.stringMatching(
          new RegExp(`OrdersResolver\\.cost is a field resolver.*lists ${missing}\\.`),
        ),
      });
    },
  );
});

describe('a field resolver that no guard stands before', () => {
  const provided: readonly [string, Provider][] = [
    ['a class', InvoicesResolver],
    ['a factory', { provide: InvoicesResolver, useFactory: () => new InvoicesResolver() }],
    ['a value', { provide: 'invoices', useValue: new InvoicesResolver() }],
  ];
  const enhancers: readonly Enhancers[] = [[], ['interceptors']];

  test.each(
    provided.flatMap(([name, provider]) =>
      enhancers.map((list) => [name, list, provider] as const),
    ),
  )('of %s, with %j, acts for the customer of its operation', async (_, list, provider) => {
    const issuer = await createIssuer();
    const app = await createApp(moduleWith(issuer, list, provider), 'fastify');
    const url = await listen(app);
    const ask = async (query: string): Promise<unknown> => {
      const response = await fetch(`${url}/graphql`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          authorization: `Bearer ${await issuer.customerToken()}`,
        },
        body: JSON.stringify({ query }),
      });
      return response.json();
    };
    // The second time the token is remembered, and the guard admits it without a promise.
    for (let round = 0; round < 2; round += 1) {
      expect(await ask('{ invoice { id payer } }')).toEqual({
        data: { invoice: { id: 1, payer: 'ann' } },
      });
    }
    expect(await ask('{ sample { id payer } }')).toEqual({
      data: { sample: { id: 1, payer: 'nobody' } },
    });
    await app.close();
  });
});
