import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** As much of AWS Secrets Manager's protocol as a broker speaks, in this process. */
export interface SecretsManager {
  readonly url: string;
  close(): Promise<void>;
}

interface Version {
  readonly value: string;
  readonly labels: Set<string>;
  readonly createdAt: number;
}
type Versions = Map<string, Version>;
type Input = Readonly<Record<string, unknown>>;

/** An answer of Secrets Manager that is an error. */
class Refusal extends Error {
  constructor(
    readonly type: string,
    message: string,
  ) {
    super(message);
  }
}

/**
 * Starts one on a free port. Signatures are not checked, values are kept in memory; labels move as AWS documents it: one
 * version per label, a first version becomes AWSCURRENT, a version is never changed, and AWSCURRENT moves only from the
 * version that has it.
 */
export async function startSecretsManager(): Promise<SecretsManager> {
  const secrets = new Map<string, Versions>();
  const server = createServer((request, response) => {
    answer(secrets, request, response).catch((error: Error) => response.destroy(error));
  });
  // As AWS does, longer than the pause between two reads: connections are kept.
  server.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(
  secrets: Map<string, Versions>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const input = JSON.parse(Buffer.concat(chunks).toString('utf8')) as Input;
  const operation = String(request.headers['x-amz-target']).split('.')[1] ?? '';
  let status = 200;
  let output: object;
  try {
    output = (OPERATIONS[operation] ?? unknownOperation)(secrets, input);
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    status = 400;
    output = { __type: error.type, Message: error.message };
  }
  const body = JSON.stringify(output);
  response.writeHead(status, {
    'content-type': 'application/x-amz-json-1.1',
    'content-length': Buffer.byteLength(body),
    'x-amzn-requestid': randomUUID(),
  });
  response.end(body);
}

const OPERATIONS: Readonly<
  Record<string, (secrets: Map<string, Versions>, input: Input) => object>
> = {
  CreateSecret: (secrets, input) => {
    const name = String(input['Name']);
    if (secrets.has(name)) throw new Refusal('ResourceExistsException', `${name} already exists.`);
    const versions: Versions = new Map();
    secrets.set(name, versions);
    const VersionId = randomUUID();
    const value = input['SecretString'];
    if (typeof value === 'string') put(versions, VersionId, value, 'AWSCURRENT');
    return { ARN: arnOf(name), Name: name, ...(typeof value === 'string' && { VersionId }) };
  },
  GetSecretValue: (secrets, input) => {
    const name = String(input['SecretId']);
    const { VersionId: id, VersionStage: stage = id === undefined ? 'AWSCURRENT' : undefined } =
      input;
    for (const [VersionId, { value, labels, createdAt }] of versionsOf(secrets, name)) {
      if (id !== undefined && id !== VersionId) continue;
      if (stage !== undefined && !labels.has(stage as string)) continue;
      const CreatedDate = createdAt / 1_000;
      const VersionStages = [...labels];
      return {
        ARN: arnOf(name),
        Name: name,
        VersionId,
        SecretString: value,
        VersionStages,
        CreatedDate,
      };
    }
    throw new Refusal(
      'ResourceNotFoundException',
      `Secrets Manager can't find the specified secret value for ${id === undefined ? 'staging label' : 'VersionId'}: ${String(id ?? stage)}`,
    );
  },
  DescribeSecret: (secrets, input) => {
    const name = String(input['SecretId']);
    const labelled = [...versionsOf(secrets, name)].filter(([, { labels }]) => labels.size > 0);
    const VersionIdsToStages = Object.fromEntries(
      labelled.map(([id, { labels }]) => [id, [...labels]]),
    );
    return { ARN: arnOf(name), Name: name, VersionIdsToStages };
  },
  PutSecretValue: (secrets, input) => {
    const name = String(input['SecretId']);
    const versions = versionsOf(secrets, name);
    const VersionId = String(input['ClientRequestToken']);
    const value = String(input['SecretString']);
    const [label = 'AWSCURRENT'] = (input['VersionStages'] ?? []) as string[];
    const existing = versions.get(VersionId);
    if (existing !== undefined && existing.value !== value) {
      throw new Refusal(
        'ResourceExistsException',
        `You can't use ClientRequestToken ${VersionId} because that value is already in use for a version of secret ${arnOf(name)}.`,
      );
    }
    if (existing === undefined) put(versions, VersionId, value, label);
    return { ARN: arnOf(name), Name: name, VersionId, VersionStages: [label] };
  },
  UpdateSecretVersionStage: (secrets, input) => {
    const name = String(input['SecretId']);
    const versions = versionsOf(secrets, name);
    const label = String(input['VersionStage']);
    const { RemoveFromVersionId: from, MoveToVersionId: to } = input;
    const holder = holderOf(versions, label);
    if (to !== undefined && holder !== undefined && holder !== from && holder !== to) {
      throw new Refusal(
        'InvalidParameterException',
        `The parameter RemoveFromVersionId can't be empty. Staging label ${label} is currently attached to version ${holder}, so you must explicitly reference that version in RemoveFromVersionId.`,
      );
    }
    if (from !== undefined && holder !== from) {
      throw new Refusal(
        'InvalidParameterException',
        `The staging label ${label} isn't attached to version ${from as string}.`,
      );
    }
    if (to === undefined) versions.get(from as string)?.labels.delete(label);
    else move(versions, label, to as string);
    return { ARN: arnOf(name), Name: name };
  },
};

function unknownOperation(): never {
  throw new Refusal('UnknownOperationException', 'not known here');
}

function versionsOf(secrets: Map<string, Versions>, name: string): Versions {
  const versions = secrets.get(name);
  if (versions !== undefined) return versions;
  throw new Refusal(
    'ResourceNotFoundException',
    "Secrets Manager can't find the specified secret.",
  );
}

function put(versions: Versions, id: string, value: string, label: string): void {
  const isFirst = versions.size === 0;
  versions.set(id, { value, labels: new Set(), createdAt: Date.now() });
  move(versions, label, id);
  if (isFirst && label !== 'AWSCURRENT') move(versions, 'AWSCURRENT', id);
}

function holderOf(versions: Versions, label: string): string | undefined {
  return [...versions].find(([, { labels }]) => labels.has(label))?.[0];
}

function move(versions: Versions, label: string, id: string): void {
  const version = versions.get(id);
  if (version === undefined) {
    throw new Refusal('ResourceNotFoundException', `Secrets Manager can't find the version ${id}.`);
  }
  const holder = holderOf(versions, label);
  if (holder !== undefined) versions.get(holder)?.labels.delete(label);
  version.labels.add(label);
  if (label === 'AWSCURRENT' && holder !== undefined && holder !== id) {
    move(versions, 'AWSPREVIOUS', holder);
  }
}

function arnOf(name: string): string {
  return `arn:aws:secretsmanager:eu-central-1:123456789012:secret:${name}-AbCdEf`;
}
