import { Inject, Injectable, ServiceUnavailableException } from '@nestjs/common';
import {
  HealthCheckService,
  HealthIndicatorService,
  type HealthCheckResult,
} from '@nestjs/terminus';
import type { Clock } from '../tokens/clock.js';
import { OperationsClock } from './operations.module-definition.js';
import { ReadinessWatch } from './readiness-watch.js';
import { otherHealth, ReadinessSource, tokenHealth, tokenState } from './readiness.js';

const STOPPING = {
  code: 'BROKER_STOPPING',
  reason: 'The broker was told to stop. It answers for a while, and takes no new work.',
};

/** How the broker is doing, whichever door asks. */
@Injectable()
export class HealthReport {
  constructor(
    @Inject(HealthCheckService) private readonly health: HealthCheckService,
    @Inject(HealthIndicatorService) private readonly indicators: HealthIndicatorService,
    @Inject(ReadinessSource) private readonly source: ReadinessSource,
    @Inject(ReadinessWatch) private readonly watch: ReadinessWatch,
    @Inject(OperationsClock) private readonly clock: Clock,
  ) {}

  /** Everything that is known, with the reasons. A token with remaining life can be served unless `status` is `error`. */
  async make(): Promise<HealthCheckResult> {
    const { source, indicators, watch } = this;
    if (source.isStopping?.() === true) {
      // Not told to the watch, which would log a fault: the log has said that the process stops.
      return resultOf(this.health.check([() => indicators.check('process').down(STOPPING)]));
    }
    const token = tokenState(source, this.clock, (error) => watch.fault(error));
    const result = await resultOf(
      this.health.check([
        async () => tokenHealth(indicators, await token),
        () => otherHealth(indicators, 'rotation', source.rotation()),
        () => otherHealth(indicators, 'coverage', source.coverage()),
        () => otherHealth(indicators, 'peers', source.peers()),
        () => otherHealth(indicators, 'clock', source.clock?.()),
      ]),
    );
    watch.note(result);
    return result;
  }
}

/** Terminus throws a result that is not good. */
async function resultOf(check: Promise<HealthCheckResult>): Promise<HealthCheckResult> {
  try {
    return await check;
  } catch (error) {
    const body = error instanceof ServiceUnavailableException ? error.getResponse() : undefined;
    if (isResult(body)) return body;
    throw error;
  }
}

function isResult(body: unknown): body is HealthCheckResult {
  return typeof body === 'object' && body !== null && 'status' in body && 'details' in body;
}
