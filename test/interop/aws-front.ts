import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * Stands in front of moto, and adds what moto lacks: Regions that are down, and RotateSecret as AWS documents it. There
 * the version is registered as AWSPENDING, and the rotation function fills it later; moto would make it current at once,
 * without a value. Which function there is does not matter: the tests play it.
 */
export interface AwsFront {
  readonly url: string;
  /** Regions whose connections are reset. */
  readonly down: Set<string>;
  close(): Promise<void>;
}

type Headers = Readonly<Record<string, string>>;
type Body = Readonly<Record<string, unknown>>;

/** @param target where moto is. */
export async function startAwsFront(target: string): Promise<AwsFront> {
  const down = new Set<string>();
  const server = createServer((request, response) => {
    answer(target, down, request, response).catch((error: Error) => response.destroy(error));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    down,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  target: string,
  down: ReadonlySet<string>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = JSON.parse(Buffer.concat(chunks).toString('utf8')) as Body;
  const headers = Object.fromEntries(
    ['authorization', 'content-type', 'x-amz-target', 'x-amz-date'].map((name) => [
      name,
      String(request.headers[name]),
    ]),
  );
  // Signature Version 4 names the Region that is asked: Credential=ID/DATE/REGION/SERVICE/aws4_request.
  const region = /Credential=[^/]+\/\d+\/([^/]+)\//.exec(headers['authorization'] ?? '')?.[1] ?? '';
  if (down.has(region)) {
    request.socket.destroy();
    return;
  }
  const isRotation = headers['x-amz-target']?.endsWith('.RotateSecret') === true;
  const [status, text] = await (isRotation ? rotate : forward)(target, headers, body);
  response.writeHead(status, { 'content-type': 'application/x-amz-json-1.1' });
  response.end(text);
}

async function forward(target: string, headers: Headers, body: Body): Promise<[number, string]> {
  const answered = await fetch(target, { method: 'POST', headers, body: JSON.stringify(body) });
  return [answered.status, await answered.text()];
}

async function rotate(target: string, headers: Headers, body: Body): Promise<[number, string]> {
  const describing = { ...headers, 'x-amz-target': 'secretsmanager.DescribeSecret' };
  const [status, text] = await forward(target, describing, { SecretId: body['SecretId'] });
  if (status !== 200) return [status, text];
  const { ARN, VersionIdsToStages = {} } = JSON.parse(text) as {
    ARN: string;
    VersionIdsToStages?: Record<string, readonly string[]>;
  };
  const isUnfinished = Object.values(VersionIdsToStages).some(
    (labels) => labels.includes('AWSPENDING') && !labels.includes('AWSCURRENT'),
  );
  if (isUnfinished) {
    const Message = "A previous rotation isn't complete. That rotation will be reattempted.";
    return [400, JSON.stringify({ __type: 'InvalidRequestException', Message })];
  }
  // moto refuses to call a function that does not exist, after it has registered the version.
  const named = { ...body, RotationLambdaARN: ROTATION_FUNCTION };
  const [refused, why] = await forward(target, headers, named);
  if (!why.includes('ResourceNotFoundException')) return [refused, why];
  return [200, JSON.stringify({ ARN, VersionId: body['ClientRequestToken'] })];
}

/** The rotation function that every secret is rotated with. It does not exist. */
export const ROTATION_FUNCTION = 'arn:aws:lambda:eu-central-1:123456789012:function:none';
