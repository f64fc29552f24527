// Compiled, never run: see test/package/types.test.ts. A line after `@ts-expect-error` must not compile.
import { HttpService } from '@nestjs/axios';
import { Module, type DynamicModule } from '@nestjs/common';
import axios, { type AxiosResponse } from 'axios';
import {
  asCustomer,
  asService,
  attachAuthorization,
  createAuthorizedFetch,
  type AllowedOrigin,
  type AttachmentOptions,
  type AuthorizedFetch,
  type ServiceTokenClientOptions,
  type ServiceTokenSource,
} from '../../../../src/client/index.js';
import { ServiceClientModule } from '../../../../src/client/nest/index.js';

declare const tokens: ServiceTokenSource;
declare const origins: readonly AllowedOrigin[];
declare const broker: ServiceTokenClientOptions;
declare const http: HttpService;
declare const send: AuthorizedFetch;

// Every axios is taken: an instance, axios itself, and the one of Nest.
const detach: () => void = attachAuthorization(axios.create(), { tokens, origins });
attachAuthorization(axios, { tokens, origins, otherOrigins: 'send-without-token' });
attachAuthorization(http.axiosRef, { tokens, origins, onRefused: ({ outcome }) => outcome });
// @ts-expect-error: what takes it off needs nothing
detach(axios);
// @ts-expect-error: no axios
attachAuthorization({}, { tokens, origins });
// @ts-expect-error: without a list, a token would go anywhere
attachAuthorization(axios, { tokens });
// @ts-expect-error: nor is there a way to say "anywhere"
attachAuthorization(axios, { tokens, origins: '*' });
// @ts-expect-error: an origin says what it accepts
export const listed: AttachmentOptions = { tokens, origins: ['https://a.internal'] };
// @ts-expect-error: a mistyped option
export const mistyped: AllowedOrigin = { origin: 'https://a.internal', acceptCustomers: true };
// @ts-expect-error: two ways, and no third
export const third: AttachmentOptions = { tokens, origins, otherOrigins: 'allow' };

// On whose behalf, with axios' own types, which know nothing of it.
export async function asked(): Promise<void> {
  const answer: AxiosResponse<number> = await axios.get<number>('/a', asService);
  await axios.post('/a', answer.data, { ...asCustomer, timeout: 1, responseType: 'json' });
  http.get('/a', asService).subscribe();
  axios.create({ ...asService, baseURL: 'https://a.internal' });
  // @ts-expect-error: axios' own options are checked as ever
  await axios.get('/a', { ...asService, timeout: 'soon' });
  // @ts-expect-error: their names too
  await axios.get('/a', { ...asService, timout: 1 });
  // @ts-expect-error: nothing of ours is added to axios' types
  await axios.get('/a', { as: 'service' });
}

// The fetch stands wherever a fetch is asked for.
export const standard: typeof fetch = send;
createAuthorizedFetch({ tokens, origins, fetch });
export async function fetched(): Promise<void> {
  const response: Response = await send('https://a.internal', { method: 'PUT', as: 'service' });
  await send(new URL(response.url), asCustomer);
  await send(new Request('https://a.internal'));
  // @ts-expect-error: neither a service nor a customer
  await send('https://a.internal', { as: 'admin' });
  // @ts-expect-error: fetch's own options are checked as ever
  await send('https://a.internal', { method: 1 });
}

const dynamic: DynamicModule = ServiceClientModule.forRoot({ broker, origins });
@Module({})
class StripeModule {}
@Module({
  imports: [
    dynamic,
    ServiceClientModule.forRoot({
      tokens,
      origins,
      global: false,
      axios: { timeout: 1 },
      plainHttpIn: [StripeModule],
    }),
    ServiceClientModule.forRootAsync({
      imports: [],
      inject: [HttpService, 'TOKEN'],
      useFactory: (service: HttpService, text: string) => ({
        tokens,
        origins,
        axios: { adapter: service.axiosRef.defaults.adapter, headers: { text } },
      }),
    }),
  ],
})
export class AppModule {}

// @ts-expect-error: neither a broker nor tokens
void ServiceClientModule.forRoot({ origins });
// @ts-expect-error: one of the two, so that neither takes precedence
void ServiceClientModule.forRoot({ broker, tokens, origins });
// @ts-expect-error: axios' own options are checked as ever
void ServiceClientModule.forRoot({ tokens, origins, axios: { timeout: 'soon' } });
// @ts-expect-error: modules are classes
void ServiceClientModule.forRoot({ tokens, origins, plainHttpIn: ['StripeModule'] });
// @ts-expect-error: what is imported is a module
void ServiceClientModule.forRootAsync({ imports: [1], useFactory: () => ({ tokens, origins }) });
// @ts-expect-error: the function makes options
void ServiceClientModule.forRootAsync({ useFactory: () => ({ tokens }) });
