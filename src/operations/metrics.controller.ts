import { Controller, Get, Header, Inject, SetMetadata } from '@nestjs/common';
import { Registry } from 'prom-client';
import { DECIDES_ACCESS_ITSELF } from '../tokens/own-access.js';
import { BrokerMetrics } from './metrics.js';

/** The Prometheus endpoint. */
@SetMetadata(DECIDES_ACCESS_ITSELF, true)
@Controller('metrics')
export class MetricsController {
  constructor(@Inject(BrokerMetrics) private readonly metrics: BrokerMetrics) {}

  /** Everything in the Prometheus text format 0.0.4. */
  @Get()
  @Header('Content-Type', Registry.PROMETHEUS_CONTENT_TYPE)
  @Header('Cache-Control', 'no-store')
  scrape(): Promise<string> {
    return this.metrics.registry.metrics();
  }
}
