import { expect, test } from '@jest/globals';
import { createAwsStore } from '../../../src/secrets/aws/aws-store.js';
import { offsetBounds, type DateReading } from '../../../src/tokens/time.js';
import { put, useScriptedEndpoint } from './harness.js';
import { answer } from './scripted-endpoint.js';

const aws = useScriptedEndpoint();

test('the Date of each answer is reported, with when its attempt was sent', async () => {
  const readings: DateReading[] = [];
  const ahead = 3_600_000;
  aws.endpoint.play(({ nth }, response) => {
    response.setHeader('date', new Date(Date.now() + ahead).toUTCString());
    // An error has a Date as well, and is tried again.
    if (nth === 1) response.writeHead(503).end();
    else answer(response, {});
  });
  const store = createAwsStore({
    region: 'eu-central-1',
    endpoint: aws.endpoint.url,
    onDate: (reading) => readings.push(reading),
  });
  await put(store);
  await store.close();
  expect(readings).toHaveLength(2);
  for (const reading of readings) {
    const { least = 0, most = 0 } = offsetBounds(reading) ?? {};
    expect(least).toBeLessThanOrEqual(ahead);
    expect(most).toBeGreaterThanOrEqual(ahead - 1);
    expect(reading.mayBeCached).toBe(false);
  }
});
