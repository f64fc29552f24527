import { All, Controller, Inject, Req, Res, SetMetadata, VERSION_NEUTRAL } from '@nestjs/common';
import { DECIDES_ACCESS_ITSELF } from '../tokens/own-access.js';
import { WELL_KNOWN } from './metadata-endpoint.js';
import { respond, type FrameworkReply, type FrameworkRequest } from './respond.js';
import { Serving } from './serving.js';

/** What OAuth client libraries discover. */
@SetMetadata(DECIDES_ACCESS_ITSELF, true)
@Controller({ version: VERSION_NEUTRAL })
export class MetadataController {
  constructor(@Inject(Serving) private readonly serving: Serving) {}

  // Fastify and Express write "the rest of the path" differently, and an issuer's path is short.
  @All(['', '/:one', '/:one/:two', '/:one/:two/:three'].map((path) => WELL_KNOWN + path))
  handle(@Req() request: FrameworkRequest, @Res() reply: FrameworkReply): Promise<void> {
    return respond(this.serving.metadata, request, reply);
  }
}
