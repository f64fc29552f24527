import { All, Controller, Inject, Req, Res, SetMetadata, VERSION_NEUTRAL } from '@nestjs/common';
import { DECIDES_ACCESS_ITSELF } from '../tokens/own-access.js';
import { respond, type FrameworkReply, type FrameworkRequest } from './respond.js';
import { Serving } from './serving.js';

/** Rotate now, for admins. */
@SetMetadata(DECIDES_ACCESS_ITSELF, true)
@Controller({ version: VERSION_NEUTRAL })
export class RotateController {
  constructor(@Inject(Serving) private readonly serving: Serving) {}

  @All('v1/rotate')
  handle(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.serving.rotate, request, reply);
  }
}
