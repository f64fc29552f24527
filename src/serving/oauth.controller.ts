import { All, Controller, Inject, Req, Res } from '@nestjs/common';
import { respond, type FrameworkReply, type FrameworkRequest } from './respond.js';
import { Serving } from './serving.js';

/** The token endpoint for OAuth client libraries. */
@Controller()
export class OauthController {
  constructor(@Inject(Serving) private readonly serving: Serving) {}

  @All('oauth2/token')
  handle(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.serving.oauth, request, reply);
  }
}
