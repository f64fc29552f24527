import { tell } from '../../tokens/tell.js';
import type { ServiceTokenSource, SuppliedToken } from '../../tokens/token-supply.js';
import type { AttachmentSettings, RefusedServiceToken } from './attachment-options.js';
import { bearerHeader } from './bearer-header.js';
import { untilCancelled, type Cancellation } from './cancellation.js';
import type { Attachment, RefusedAttachment } from './decide-attachment.js';

/** One request, in the hands of who can send it: axios or fetch. */
export interface Exchange<Answer> {
  /** Whom it goes to. */
  readonly origin: string;
  readonly cancellation: Cancellation;
  /**
   * Sends it. Resolves with whatever comes back, a refusal too.
   *
   * @param authorization the value of the `Authorization` header; `undefined` to leave it as it is.
   */
  send(authorization: string | undefined): Promise<Answer>;
  /** Ends a request that was cancelled, in the way that the sender's users know. Sends nothing. */
  endCancelled(): Promise<Answer>;
  /** Whether the callee itself refused the token: 401, and not from where a redirect led to. */
  isRefused(answer: Answer): boolean;
  /**
   * Whether a request with this answer may be sent a second time: with the same body, and only when it is known that no
   * redirect led it to another origin, nor to what it may have changed already.
   */
  mayRepeat(answer: Answer): boolean;
  /** Lets go of an answer that nobody will read. */
  discard(answer: Answer): Promise<void>;
}

/** Sends a request with what was decided for it. */
export function sendAttached<Answer>(
  settings: AttachmentSettings,
  attachment: Exclude<Attachment, RefusedAttachment>,
  exchange: Exchange<Answer>,
): Promise<Answer> {
  if (attachment.kind === 'service-token') return sendWithServiceToken(settings, exchange);
  return exchange.send(
    attachment.kind === 'customer-token' ? bearerHeader(attachment.token) : undefined,
  );
}

/**
 * Sends a request with the service token. When the callee refuses the token, and another one can be had, it is sent once
 * more with that; in every other case the refusal is the answer.
 */
async function sendWithServiceToken<Answer>(
  { tokens, onRefused }: AttachmentSettings,
  exchange: Exchange<Answer>,
): Promise<Answer> {
  const { cancellation, origin } = exchange;
  let supplied: SuppliedToken | undefined;
  try {
    supplied = await untilCancelled(cancellation, tokens.getToken());
  } catch (error) {
    if (typeof error === 'object' && error !== null) failures.add(error);
    throw error;
  }
  if (supplied === undefined) return exchange.endCancelled();
  const answer = await exchange.send(headerOf(supplied));
  if (!exchange.isRefused(answer)) return answer;

  const renewal = await untilCancelled(cancellation, renew(tokens, supplied.accessToken));
  if (renewal === undefined) {
    await exchange.discard(answer);
    return exchange.endCancelled();
  }
  const outcome = decideOutcome(renewal, exchange.mayRepeat(answer));
  if (onRefused !== undefined) {
    tell(() => onRefused({ origin, outcome, error: renewal.error }));
  }
  if (outcome !== 'retried') return answer;
  const authorization = bearerHeader(renewal.token);
  await exchange.discard(answer);
  return exchange.send(authorization);
}

const failures = new WeakSet();

/** Whether an error says that the source of the service token had none for a request. */
export function isSourceFailure(error: object): boolean {
  return failures.has(error);
}

/** The header of a token is made and checked once, for as long as its source gives the same object. */
const headers = new WeakMap<SuppliedToken, string>();

function headerOf(supplied: SuppliedToken): string {
  let header = headers.get(supplied);
  if (header === undefined) headers.set(supplied, (header = bearerHeader(supplied.accessToken)));
  return header;
}

/** What came of looking for another token: one, none, or an error. */
interface Renewal {
  readonly token?: string;
  readonly error?: unknown;
}

/** What is done about a refusal. */
function decideOutcome(renewal: Renewal, isRepeatable: boolean): RefusedServiceToken['outcome'] {
  if (renewal.error !== undefined) return 'refresh-failed';
  if (renewal.token === undefined) return 'no-newer-token';
  return isRepeatable ? 'retried' : 'not-repeatable';
}

/**
 * Looks for a token other than the one that was refused. The source asks for a new one at most once a second, however
 * many requests are refused; one of those that were refused together may find what another has got. A token that is refused
 * within its first second is worth the wait for the rest of it: it may have been replaced.
 */
async function renew(tokens: ServiceTokenSource, refusedToken: string): Promise<Renewal> {
  try {
    const current = await tokens.getToken();
    if (current.accessToken !== refusedToken) return { token: current.accessToken };
    const renewed = await tokens.getToken({ force: true, patient: true });
    return renewed.accessToken === refusedToken ? {} : { token: renewed.accessToken };
  } catch (error) {
    // The callee's refusal tells the caller more than the broker's troubles, which the source reports by itself.
    return { error };
  }
}
