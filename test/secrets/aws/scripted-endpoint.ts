import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** One request as the SDK sent it. */
export interface Received {
  /** `GetSecretValue` and so on. */
  readonly operation: string;
  /** The body's text. */
  readonly text: string;
  /** The body's JSON. */
  readonly body: Readonly<Record<string, unknown>>;
  /** 1 for the first request to this endpoint. */
  readonly nth: number;
}

/** What the endpoint does with a request: answers, or treats the connection badly. */
export type Script = (
  received: Received,
  response: ServerResponse,
  request: IncomingMessage,
) => void;

/** A real HTTP server on loopback that plays Secrets Manager by a script. */
export interface ScriptedEndpoint {
  readonly url: string;
  /** Every request so far. */
  readonly received: readonly Received[];
  /** What to do from now on. */
  play(script: Script): void;
  close(): Promise<void>;
}

export const REQUEST_ID = '0f0e0d0c-1111-4222-8333-444455556666';

export async function startScriptedEndpoint(): Promise<ScriptedEndpoint> {
  const received: Received[] = [];
  let script: Script = (_received, response) => response.destroy();
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const text = Buffer.concat(chunks).toString('utf8');
      const target = String(request.headers['x-amz-target']);
      const one: Received = {
        operation: target.slice(target.indexOf('.') + 1),
        text,
        body: JSON.parse(text) as Record<string, unknown>,
        nth: received.length + 1,
      };
      received.push(one);
      script(one, response, request);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    play: (next) => {
      script = next;
      received.length = 0;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Answers with JSON, as Secrets Manager does. */
export function answer(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, {
    'content-type': 'application/x-amz-json-1.1',
    'x-amzn-requestid': REQUEST_ID,
  });
  response.end(JSON.stringify(body));
}

/** Answers with an exception. */
export function refuse(
  response: ServerResponse,
  type: string,
  message: string,
  status = 400,
): void {
  answer(response, { __type: type, Message: message }, status);
}

/**
 * Gives the SDK credentials and nothing of the machine's own AWS settings. Returns what undoes it.
 *
 * @param attempts AWS_MAX_ATTEMPTS; the SDK's default when left out.
 */
export function isolateAwsSettings(attempts?: number): () => void {
  const before = { ...process.env };
  for (const name of Object.keys(process.env))
    if (name.startsWith('AWS_')) delete process.env[name];
  Object.assign(process.env, {
    AWS_ACCESS_KEY_ID: 'AKIAIOSFODNN7EXAMPLE',
    AWS_SECRET_ACCESS_KEY: 'canary-aws-secret-access-key',
    AWS_REGION: 'eu-central-1',
    AWS_CONFIG_FILE: '/nonexistent/config',
    AWS_SHARED_CREDENTIALS_FILE: '/nonexistent/credentials',
    AWS_EC2_METADATA_DISABLED: 'true',
    ...(attempts === undefined ? {} : { AWS_MAX_ATTEMPTS: String(attempts) }),
  });
  return () => {
    for (const name of Object.keys(process.env)) {
      if (name.startsWith('AWS_')) delete process.env[name];
    }
    Object.assign(process.env, before);
  };
}
