import { withSnakeNames } from '../operations/json-names.js';
import type { ReadinessSource } from '../operations/readiness.js';
import {
  jsonAnswer,
  methodNotAllowed,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
} from '../serving/http.js';
import { redactText } from '../tokens/redaction.js';

/**
 * `GET /health/ready`: 200 when a token with remaining life can be served, else 503 with the reason, in the form that
 * the broker's own health endpoint has. Of rotation a function that only serves knows nothing. It waits for the store as
 * long as a peer would: a cold start takes longer than the probes of containers wait.
 */
export class ReadyEndpoint implements Endpoint {
  constructor(private readonly source: Pick<ReadinessSource, 'tokenState'>) {}

  async answer({ method }: EndpointRequest): Promise<EndpointAnswer> {
    if (method !== 'GET' && method !== 'HEAD') return methodNotAllowed(['GET', 'HEAD']);
    const { ok, reason, ...state } = await this.source.tokenState();
    const status = ok ? (state.stale === true ? 'degraded' : 'up') : 'down';
    const token = withSnakeNames({
      ...state,
      ...(reason !== undefined && { reason: redactText(reason) }),
      status,
    });
    return jsonAnswer(ok ? 200 : 503, {
      status: { up: 'ok', degraded: 'degraded', down: 'error' }[status],
      info: ok ? { token } : {},
      error: ok ? {} : { token },
      details: { token },
    });
  }
}
