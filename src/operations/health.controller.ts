import { Controller, Get, Header, Inject, SetMetadata, UseFilters } from '@nestjs/common';
import {
  HealthCheck,
  HealthCheckService,
  HealthIndicatorService,
  type HealthCheckResult,
} from '@nestjs/terminus';
import type { Clock } from '../tokens/clock.js';
import { DECIDES_ACCESS_ITSELF } from '../tokens/own-access.js';
import { HealthFilter } from './health.filter.js';
import { OperationsClock } from './operations.module-definition.js';
import { ReadinessWatch } from './readiness-watch.js';
import { otherHealth, ReadinessSource, tokenHealth, tokenState } from './readiness.js';

const STOPPING = {
  code: 'BROKER_STOPPING',
  reason: 'The broker was told to stop. It answers for a while, and takes no new work.',
};

/** The health endpoints. */
@SetMetadata(DECIDES_ACCESS_ITSELF, true)
@Controller('health')
@UseFilters(HealthFilter)
export class HealthController {
  constructor(
    @Inject(HealthCheckService) private readonly health: HealthCheckService,
    @Inject(HealthIndicatorService) private readonly indicators: HealthIndicatorService,
    @Inject(ReadinessSource) private readonly source: ReadinessSource,
    @Inject(ReadinessWatch) private readonly watch: ReadinessWatch,
    @Inject(OperationsClock) private readonly clock: Clock,
  ) {}

  /** 200 for as long as the process answers at all. A restart mends nothing else. */
  @Get('live')
  @Header('Cache-Control', 'no-store')
  live(): { status: 'ok' } {
    return { status: 'ok' };
  }

  /** 200 when a token with remaining life can be served; else 503 with the reason, and what to do. */
  @Get('ready')
  @HealthCheck()
  ready(): Promise<HealthCheckResult> {
    const { source, indicators, watch } = this;
    if (source.isStopping?.() === true) {
      // Not told to the watch, which would log a fault: the log has said that the process stops.
      return this.health.check([() => indicators.check('process').down(STOPPING)]);
    }
    const token = tokenState(source, this.clock, (error) => watch.fault(error));
    return watch.watch(
      this.health.check([
        async () => tokenHealth(indicators, await token),
        () => otherHealth(indicators, 'rotation', source.rotation()),
        () => otherHealth(indicators, 'coverage', source.coverage()),
        () => otherHealth(indicators, 'peers', source.peers()),
        () => otherHealth(indicators, 'clock', source.clock?.()),
      ]),
    );
  }
}
