import { boundedFetch } from '../../provider/provider-http.js';
import { span } from '../output.js';
import { failed, ok, skipped, warning, type Finding } from './examination.js';
import type { ExaminedProvider } from './provider.js';
import type { Patient } from './store.js';

/** From here on a difference is worth a word, in milliseconds; a clock that is synchronized stays far below. */
const WORTH_A_WORD = 30_000;
const TIMEOUT = 5_000;

/** What {@link judgeClock} judges by. Instants and spans in milliseconds. */
export interface ClockReading {
  /** The provider's `Date` header (RFC 9110 §6.6.1). */
  readonly date: string | null;
  /** The `Age` header of an answer that a cache on the way gave (RFC 9111 §5.1). */
  readonly age: string | null;
  /** When the request was sent, and when its answer was there, by this machine's clock. */
  readonly sentAt: number;
  readonly answeredAt: number;
  /** The difference that verification tolerates: BROKER_CLOCK_SKEW_SECONDS. */
  readonly tolerated: number;
}

/** Asks the provider for the time of day. @throws {BrokerError} */
export async function examineClock(
  { clock, config, clockWatch }: Patient,
  { metadata }: ExaminedProvider,
): Promise<Finding> {
  const ask = boundedFetch({ clock, timeoutMs: TIMEOUT, signal: undefined, what: 'clock' });
  const sentAt = clock.now();
  const answer = await ask(metadata.jwksUri, { method: 'GET', headers: {} });
  const byProvider = judgeClock({
    date: answer.headers.get('date'),
    age: answer.headers.get('age'),
    sentAt,
    answeredAt: clock.now(),
    tolerated: config.verification.clockSkewSeconds * 1000,
  });
  const byStore = clockWatch.readiness();
  return byProvider.state === 'failed' || byStore?.ok !== false
    ? byProvider
    : warning(byStore.reason ?? '', 'Synchronize it (NTP).');
}

/**
 * How far this machine's clock is from the provider's. What the journey and the whole seconds of the header may hide
 * counts in favour of the clock. Pure.
 */
export function judgeClock(reading: ClockReading): Finding {
  const { date, age, sentAt, answeredAt, tolerated } = reading;
  const inCache = /^\d{1,9}$/.test(age ?? '') ? Number(age) * 1_000 : 0;
  const shown = date === null ? Number.NaN : Date.parse(date) + inCache;
  if (!Number.isFinite(shown)) {
    return skipped('The provider sends no Date header: the clocks cannot be compared.');
  }
  // The provider's time when it answered lies within the second that starts at the header's; ours within the journey.
  const ahead = sentAt - (shown + 1_000);
  const behind = shown - answeredAt;
  const skew = Math.max(ahead, behind, 0);
  const found = `This machine's clock is ${span(skew)} ${ahead > behind ? 'ahead of' : 'behind'} the provider's`;
  const action = 'Synchronize it (NTP).';
  if (skew > tolerated) {
    return failed(`${found}, more than BROKER_CLOCK_SKEW_SECONDS tolerates.`, action);
  }
  return skew > WORTH_A_WORD
    ? warning(`${found}.`, action)
    : ok(`This machine's clock and the provider's differ by ${span(skew)} at most.`);
}
