import { currentBehalf, currentCorrelation } from '../../context/call-context.js';
import { ClientConfigError, readAll } from '../errors.js';
import {
  readAttachmentOptions,
  type AttachmentOptions,
  type AttachmentSettings,
} from './attachment-options.js';
import { destinationOf } from './axios-destination.js';
import { createAxiosDispatch, type AxiosDispatch } from './axios-dispatch.js';
import { answerOf, AxiosExchange } from './axios-exchange.js';
import type { AxiosAdapter, AxiosAnswer, AxiosLike, AxiosRequest } from './axios-shapes.js';
import { correlationHeaders } from './correlation-headers.js';
import { decideAttachment } from './decide-attachment.js';
import { sendAttached } from './send-attached.js';

/**
 * Lets an axios instance attach the customer's token, or the service token, to its requests by the call context.
 *
 * It acts where a request leaves axios, behind all interceptors and transformations, whenever they were added: what it
 * looks at is what is sent. The token is never in the configuration that errors, responses and interceptors show.
 *
 * - A request rejects with an `AttachmentError` before anything is sent when no token may be sent; with the source's error
 *   when there is none.
 * - An `Authorization` header that the caller sets is left alone, and so are axios' `auth` and a password in the URL.
 *   `Authorization: false` sends none.
 * - `asService` and `asCustomer` say on whose behalf a single request is made.
 * - When the callee answers a service token with 401, and the source has or gets another one, the request is sent once
 *   more; interceptors do not notice. A body that is a stream is used up by the first time: then the 401 is the answer, and so
 *   it is when a redirect may have led to another origin. A customer's token that was refused is never replaced.
 * - A request with a token to an `http:` origin goes through no proxy, whatever `proxy` and the environment say.
 * - axios' `timeout` counts for each time the request is sent, and does not cover the wait for the token.
 * - To listed origins, `traceparent`, `tracestate` and `x-request-id` of the call that is being handled go along, unless the
 *   caller sets them.
 *
 * @param instance made by `axios.create`, or axios itself.
 * @returns what takes it off again. Requests that have begun keep it.
 * @throws {ClientConfigError} naming every option that is missing or wrong.
 *
 * @example
 * ```ts
 * import axios from 'axios';
 * import { asService, attachAuthorization, createServiceTokenClient } from 'service-token-broker/client';
 *
 * const http = axios.create({ baseURL: 'https://billing.internal', timeout: 5_000 });
 * attachAuthorization(http, {
 *   tokens: createServiceTokenClient({ brokers: 'https://broker.internal', peer }),
 *   origins: [{ origin: 'https://billing.internal', acceptsCustomers: true }],
 * });
 * await http.get('/invoices');
 * await http.get('/report', asService);
 * ```
 */
export function attachAuthorization(instance: AxiosLike, options: AttachmentOptions): () => void {
  const { settings } = readAll({
    settings: () => readAttachmentOptions(options),
    instance: () => requireAxios(instance),
  });
  const dispatch = createAxiosDispatch(instance);
  const { request: interceptors } = instance.interceptors;
  const id = interceptors.use(
    (config) => {
      const { adapter: own } = config;
      // A request that is sent again, by a retry library for example, has it already.
      if (isAttachedBy(dispatch, own)) return config;
      const adapter: AttachingAdapter = (final) => send(settings, dispatch, final, own);
      adapter[ATTACHED_BY] = dispatch;
      config.adapter = adapter;
      return config;
    },
    null,
    { synchronous: true },
  );
  return () => interceptors.eject(id);
}

function requireAxios(instance: AxiosLike | undefined): void {
  if (typeof instance?.create === 'function') return;
  throw new ClientConfigError('attachAuthorization needs an instance made by axios.create.');
}

/** Marks an adapter of ours; a set of all of them would cost each request more. */
const ATTACHED_BY: unique symbol = Symbol('attachedBy');
type AttachingAdapter = AxiosAdapter & { [ATTACHED_BY]?: AxiosDispatch };

function isAttachedBy(dispatch: AxiosDispatch, adapter: unknown): boolean {
  return typeof adapter === 'function' && (adapter as AttachingAdapter)[ATTACHED_BY] === dispatch;
}

async function send(
  settings: AttachmentSettings,
  dispatch: AxiosDispatch,
  config: AxiosRequest,
  adapter: unknown,
): Promise<AxiosAnswer> {
  const destination = destinationOf(config, settings.origins, dispatch.urlOf);
  const { origin } = destination;
  const { as, auth, headers } = config;
  const hasAuthorization =
    destination.hasCredentials || Boolean(auth) || headers.has('authorization');
  const attachment = decideAttachment({ origin, as, hasAuthorization }, settings, currentBehalf());
  if (attachment.kind === 'refused') throw attachment.error;
  if (origin === undefined || !settings.origins.has(origin)) return dispatch.send(config, adapter);

  const correlation = correlationHeaders(currentCorrelation(), (name) => headers.has(name));
  const exchange = new AxiosExchange(origin, config, destination, correlation, adapter, dispatch);
  return answerOf(await sendAttached(settings, attachment, exchange));
}
