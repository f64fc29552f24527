import { All, Controller, Inject, Req, Res, SetMetadata, VERSION_NEUTRAL } from '@nestjs/common';
import { respond, type FrameworkReply, type FrameworkRequest } from '../serving/respond.js';
import { DECIDES_ACCESS_ITSELF } from '../tokens/own-access.js';
import { OwnPort } from './operations.module-definition.js';
import type { OperationsEndpoints } from './operations-endpoints.js';

/** Health and metrics on the application's own port. */
@SetMetadata(DECIDES_ACCESS_ITSELF, true)
@Controller({ version: VERSION_NEUTRAL })
export class HealthController {
  constructor(@Inject(OwnPort) private readonly endpoints: OperationsEndpoints) {}

  @All('health/live')
  live(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.endpoints.live, request, reply);
  }

  @All('health/ready')
  ready(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.endpoints.ready, request, reply);
  }

  @All('metrics')
  metrics(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.endpoints.metrics, request, reply);
  }
}
