import { All, Controller, Inject, Req, Res, SetMetadata, VERSION_NEUTRAL } from '@nestjs/common';
import { DECIDES_ACCESS_ITSELF } from '../tokens/own-access.js';
import { respond, type FrameworkReply, type FrameworkRequest } from './respond.js';
import { Serving } from './serving.js';

/** The service token for a peer with HTTP Basic. */
@SetMetadata(DECIDES_ACCESS_ITSELF, true)
@Controller({ version: VERSION_NEUTRAL })
export class TokenController {
  constructor(@Inject(Serving) private readonly serving: Serving) {}

  @All('v1/token')
  handle(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.serving.token, request, reply);
  }
}
