import { All, Controller, Inject, Req, Res, SetMetadata, VERSION_NEUTRAL } from '@nestjs/common';
import { DECIDES_ACCESS_ITSELF } from '../tokens/own-access.js';
import { respond, type FrameworkReply, type FrameworkRequest } from './respond.js';
import { Serving } from './serving.js';

/** The token endpoint for OAuth client libraries. */
@SetMetadata(DECIDES_ACCESS_ITSELF, true)
@Controller({ version: VERSION_NEUTRAL })
export class OauthController {
  constructor(@Inject(Serving) private readonly serving: Serving) {}

  @All('oauth2/token')
  handle(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.serving.oauth, request, reply);
  }
}
