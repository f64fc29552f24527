import { All, Controller, Inject, Req, Res, SetMetadata } from '@nestjs/common';
import { DECIDES_ACCESS_ITSELF } from '../tokens/own-access.js';
import { respond, type FrameworkReply, type FrameworkRequest } from './respond.js';
import { Serving } from './serving.js';

/** What OAuth client libraries discover. */
@SetMetadata(DECIDES_ACCESS_ITSELF, true)
@Controller()
export class MetadataController {
  constructor(@Inject(Serving) private readonly serving: Serving) {}

  @All('.well-known/oauth-authorization-server')
  handle(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.serving.metadata, request, reply);
  }
}
