import { Injectable, Logger, ServiceUnavailableException } from '@nestjs/common';
import type { HealthCheckResult } from '@nestjs/terminus';

/** Logs when readiness changes, and only then: probes come every few seconds. */
@Injectable()
export class ReadinessWatch {
  readonly #log = new Logger('Readiness');
  #last: string | undefined;

  /** Passes a check's result, or its failure, on as it is. */
  async watch(check: Promise<HealthCheckResult>): Promise<HealthCheckResult> {
    try {
      const result = await check;
      this.#tell(result);
      return result;
    } catch (error) {
      const body = error instanceof ServiceUnavailableException ? error.getResponse() : undefined;
      if (isResult(body)) this.#tell(body);
      throw error;
    }
  }

  /** A source that failed instead of answering. */
  fault(error: unknown): void {
    this.#log.error(error);
  }

  #tell(result: HealthCheckResult): void {
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
}

function isResult(body: unknown): body is HealthCheckResult {
  return typeof body === 'object' && body !== null && 'status' in body && 'details' in body;
}

function reasonsOf({ details }: HealthCheckResult): string {
  return Object.values(details)
    .filter(({ status }) => status !== 'up')
    .map(({ reason }): unknown => reason)
    .filter((reason) => typeof reason === 'string')
    .join(' ');
}
