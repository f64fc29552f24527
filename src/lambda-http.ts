import { createHttpFunction, type HttpHandler } from './lambda/http-function.js';

/**
 * The broker as an HTTP function on AWS Lambda, behind an endpoint that AWS IAM authorizes: a function URL with
 * `AuthType: AWS_IAM`, or an HTTP API of API Gateway with IAM authorization (payload format 2.0 both). The IAM role or
 * user that calls is the peer, if `BROKER_HTTP_IAM_PEERS` or an identity `iam` of the configuration file names it. Behind an
 * endpoint without IAM authorization, peers of the file prove who they are by workload tokens.
 *
 * Serves `GET /v1/token`, `GET /v1/tokens/{name}`, `POST /oauth2/token`, `POST /v1/rotate`, `POST /oauth2/introspect`,
 * `/v1/authorize` where it is switched on, and `GET /health/ready`, with the answers that the broker gives over HTTP. The
 * peers secret is not read, and no request waits. A caller that invokes the function past its endpoint can claim any
 * identity: grant `lambda:InvokeFunction` only under the condition `lambda:InvokedViaFunctionUrl`, or to API Gateway.
 */
export const handler: HttpHandler = createHttpFunction();
