import { describe, expect, test } from '@jest/globals';
import { useScriptedEndpoint, VERSION } from './harness.js';
import { failureOf } from './leaks.js';
import { answer, refuse } from './scripted-endpoint.js';

const aws = useScriptedEndpoint();

describe('a request to rotate', () => {
  test('names the version, and nothing that would change how the secret is rotated', async () => {
    aws.endpoint.play((_received, response) => answer(response, { VersionId: VERSION }));
    await aws.open().requestRotation('token', VERSION);
    expect(aws.endpoint.received).toMatchObject([
      { operation: 'RotateSecret', body: { SecretId: 'token', ClientRequestToken: VERSION } },
    ]);
    expect(Object.keys(aws.endpoint.received[0]?.body ?? {})).toHaveLength(2);
  });

  test('is repeated with the same version id when its answer is lost', async () => {
    aws.endpoint.play(({ nth }, response) =>
      nth === 1 ? void response.destroy() : answer(response, {}),
    );
    await aws.open().requestRotation('token', VERSION);
    expect(aws.endpoint.received.map(({ body }) => body['ClientRequestToken'])).toEqual([
      VERSION,
      VERSION,
    ]);
  });

  test('is refused here when Secrets Manager would not take the version id', async () => {
    aws.endpoint.play((_received, response) => answer(response, {}));
    expect(await failureOf(aws.open().requestRotation('token', 'short'))).toMatchObject({
      code: 'STORE_REQUEST_INVALID',
    });
    expect(aws.endpoint.received).toEqual([]);
  });

  test('tells a rotation that has not ended from every other refusal', async () => {
    const store = aws.open();
    aws.endpoint.play((_received, response) =>
      refuse(
        response,
        'InvalidRequestException',
        "A previous rotation isn't complete. That rotation will be reattempted.",
      ),
    );
    const pending = await failureOf(store.requestRotation('token', VERSION));
    expect(pending).toMatchObject({ code: 'STORE_ROTATION_PENDING', kind: 'retry' });
    expect(pending.message).toMatch(/Could not start a rotation of the secret "token"/);
    aws.endpoint.play((_received, response) =>
      refuse(response, 'InvalidRequestException', 'Something else.'),
    );
    expect(await failureOf(store.requestRotation('token', VERSION))).toMatchObject({
      code: 'STORE_REQUEST_INVALID',
    });
  });
});
