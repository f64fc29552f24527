import { Injectable, Logger } from '@nestjs/common';
import type { HealthCheckResult } from '@nestjs/terminus';

/** Logs when readiness changes, and only then: probes come every few seconds. */
@Injectable()
export class ReadinessWatch {
  readonly #log = new Logger('Readiness');
  #last: string | undefined;
  #fault: string | undefined;

  /** What a check came to. */
  note(result: HealthCheckResult): void {
    if (isReady(result)) this.#fault = undefined;
    const state = [result.status, ...Object.values(result.details).map(({ status }) => status)];
    const key = state.join(' ');
    if (key === this.#last) return;
    const first = this.#last === undefined;
    this.#last = key;
    const reasons = reasonsOf(result);
    if (result.status === 'error') this.#log.error(`Not ready. ${reasons}`);
    else if (result.status === 'degraded') this.#log.warn(`Ready, but not well. ${reasons}`);
    else if (result.status === 'ok' && !first) this.#log.log('Ready again.');
  }

  /** A source that failed instead of answering: logged once, until it answers or fails in another way. */
  fault(error: unknown): void {
    const key = String(error);
    if (key === this.#fault) return;
    this.#fault = key;
    this.#log.error(error);
  }
}

function isReady({ status }: HealthCheckResult): boolean {
  return status === 'ok' || status === 'degraded';
}

function reasonsOf({ details }: HealthCheckResult): string {
  return Object.values(details)
    .filter(({ status }) => status !== 'up')
    .map(({ reason }): unknown => reason)
    .filter((reason) => typeof reason === 'string')
    .join(' ');
}
