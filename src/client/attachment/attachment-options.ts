import type { ServiceTokenSource } from '../../tokens/token-supply.js';
import { ClientConfigError, readAll } from '../errors.js';
import { readAllowedOrigins, type AllowedOrigin } from './allowed-origins.js';
import type { AttachmentRules, OtherOrigins, OutsideCalls } from './decide-attachment.js';

/** What became of a request whose service token the callee refused with 401. Holds no token. */
export interface RefusedServiceToken {
  /** Whom the request went to: scheme, host and port. */
  readonly origin: string;
  /**
   * - `retried`: there was a newer token, and the request is sent once more with it. Whatever comes back then is the answer.
   * - `no-newer-token`: the source has no other, or cannot get one while the broker is down. The 401 is the answer.
   * - `not-repeatable`: there is a newer token, which later requests get. This one's body is used up, or a redirect led it on, or
   *   it cannot be seen whether one did. The 401 is the answer.
   * - `refresh-failed`: the source has no token at all any more; see `error`. The 401 is the answer.
   */
  readonly outcome: 'retried' | 'no-newer-token' | 'not-repeatable' | 'refresh-failed';
  /** What the token source threw, after `refresh-failed`. */
  readonly error: unknown;
}

/** Where tokens come from and where they may go. */
export interface AttachmentOptions {
  /** Where the service token comes from: a client made by `createServiceTokenClient`, or a broker in the same process. */
  readonly tokens: ServiceTokenSource;
  /** Where tokens may be sent: at least one origin. */
  readonly origins: readonly AllowedOrigin[];
  /**
   * What is done with requests to other origins: `refuse` makes them an error, `send-without-token` lets them pass as they
   * are. Default `refuse`, so that a forgotten entry is found at once and not as somebody else's 401.
   */
  readonly otherOrigins?: OtherOrigins;
  /**
   * What is done with requests that are made outside of every call: at start-up, in jobs, timers and consumers. `refuse`
   * makes them an error unless they say `as: 'service'` or run in `runAsService`; `service` attaches the service token. Default
   * `refuse`. Set `service` only in a process that never acts for customers: code that has lost a customer's call context,
   * such as the callback of a shared connection, is outside of every call too.
   */
  readonly outsideCalls?: OutsideCalls;
  /** Is told when a callee refused the service token, for metrics and logs. If it throws, a process warning says so. */
  readonly onRefused?: (refusal: RefusedServiceToken) => void;
}

/** The options, checked. */
export interface AttachmentSettings extends AttachmentRules {
  readonly tokens: ServiceTokenSource;
  readonly onRefused: ((refusal: RefusedServiceToken) => void) | undefined;
}

/** @throws {ClientConfigError} naming every option that is missing or wrong. */
export function readAttachmentOptions(options: AttachmentOptions): AttachmentSettings {
  // Callers without TypeScript may forget them altogether.
  const {
    tokens,
    origins,
    otherOrigins = 'refuse',
    outsideCalls = 'refuse',
    onRefused,
  } = options ?? ({} as never);
  return readAll({
    tokens: () => {
      if (typeof (tokens as Partial<ServiceTokenSource> | undefined)?.getToken === 'function') {
        return tokens;
      }
      throw new ClientConfigError(
        '"tokens" must be a source of the service token, such as createServiceTokenClient makes.',
      );
    },
    otherOrigins: () => {
      if (otherOrigins === 'refuse' || otherOrigins === 'send-without-token') return otherOrigins;
      throw new ClientConfigError('"otherOrigins" must be "refuse" or "send-without-token".');
    },
    outsideCalls: () => {
      if (outsideCalls === 'refuse' || outsideCalls === 'service') return outsideCalls;
      throw new ClientConfigError('"outsideCalls" must be "refuse" or "service".');
    },
    onRefused: () => {
      if (onRefused === undefined || typeof onRefused === 'function') return onRefused;
      throw new ClientConfigError('"onRefused" must be a function.');
    },
    origins: () => readAllowedOrigins(origins),
  });
}
