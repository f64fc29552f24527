import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { createRotationFunction } from '../../src/lambda/rotation-function.js';
import {
  answer,
  isolateAwsSettings,
  refuse,
  startScriptedEndpoint,
  type ScriptedEndpoint,
} from '../secrets/aws/scripted-endpoint.js';
import { startProviderServer, type ProviderServer } from '../support/provider-server.js';
import {
  AUDIENCE,
  CREDENTIALS_SECRET,
  TOKEN_SECRET,
  TOKEN_SECRET_ARN,
  VERSION,
} from './support/rotation-function.js';

const CURRENT = 'b1d0b3a2-0000-4000-8000-000000000000';
const ROTATION_TOKEN = 'canary-rotation-token';

let endpoint: ScriptedEndpoint;
let provider: ProviderServer;
let restore: () => void;

beforeAll(async () => {
  endpoint = await startScriptedEndpoint();
  provider = await startProviderServer();
});
afterAll(async () => {
  await endpoint.close();
  await provider.close();
});
beforeEach(() => {
  restore = isolateAwsSettings(1);
  process.env['AWS_ENDPOINT_URL_SECRETS_MANAGER'] = endpoint.url;
});
afterEach(() => restore());

/** Secrets Manager after it has registered the pending version. */
function play(): void {
  endpoint.play(({ operation, body }, response) => {
    if (operation === 'DescribeSecret') {
      return answer(response, {
        ARN: TOKEN_SECRET_ARN,
        Name: TOKEN_SECRET,
        RotationEnabled: true,
        VersionIdsToStages: { [VERSION]: ['AWSPENDING'], [CURRENT]: ['AWSCURRENT'] },
      });
    }
    if (operation === 'PutSecretValue') return answer(response, {});
    if (operation === 'GetSecretValue' && body['SecretId'] === CREDENTIALS_SECRET) {
      return answer(response, {
        VersionId: CURRENT,
        CreatedDate: 1_790_000_000,
        VersionStages: ['AWSCURRENT'],
        SecretString: JSON.stringify({ client_id: 'broker', client_secret: 'right-secret' }),
      });
    }
    return refuse(response, 'ResourceNotFoundException', 'Secrets Manager can’t find the value.');
  });
}

function invoke(written: string[], rotationToken?: string): Promise<void> {
  const handler = createRotationFunction({
    env: {
      BROKER_CREDENTIALS_SECRET_ID: CREDENTIALS_SECRET,
      BROKER_TOKEN_SECRET_ID: TOKEN_SECRET,
      BROKER_ISSUER: provider.issuer,
      BROKER_AUDIENCE: AUDIENCE,
    },
    write: (line) => written.push(line),
  });
  return handler(
    {
      Step: 'createSecret',
      SecretId: TOKEN_SECRET_ARN,
      ClientRequestToken: VERSION,
      ...(rotationToken !== undefined && { RotationToken: rotationToken }),
    },
    { awsRequestId: 'request-1', getRemainingTimeInMillis: () => 60_000 },
  );
}

describe('what Secrets Manager is sent', () => {
  test('is the value for AWSPENDING alone, under the version id, with the rotation token as it came', async () => {
    play();
    const written: string[] = [];
    await invoke(written, ROTATION_TOKEN);
    const puts = endpoint.received.filter(({ operation }) => operation === 'PutSecretValue');
    expect(puts.map(({ body }) => body)).toEqual([
      {
        SecretId: TOKEN_SECRET,
        ClientRequestToken: VERSION,
        SecretString: expect.stringContaining('"access_token"'),
        VersionStages: ['AWSPENDING'],
        RotationToken: ROTATION_TOKEN,
      },
    ]);
    expect(written.join('')).toContain('minted and staged');
    expect(written.join('')).not.toContain(ROTATION_TOKEN);
  });

  test('is no rotation token when the event has none', async () => {
    play();
    await invoke([]);
    const put = endpoint.received.find(({ operation }) => operation === 'PutSecretValue');
    expect(put?.body).not.toHaveProperty('RotationToken');
  });

  test('is nothing more when it refuses', async () => {
    endpoint.play((_received, response) =>
      refuse(response, 'AccessDeniedException', 'not authorized'),
    );
    const written: string[] = [];
    await expect(invoke(written, ROTATION_TOKEN)).rejects.toMatchObject({
      code: 'STORE_ACCESS_DENIED',
      kind: 'misconfigured',
    });
    expect(endpoint.received.map(({ operation }) => operation)).toEqual(['DescribeSecret']);
    expect(written.join('')).toContain('STORE_ACCESS_DENIED');
  });
});
