import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { runCommand, startBroker } from '../support/broker-process.js';
import { startProviderServer } from '../support/provider-server.js';
import { temporaryFolder } from './folders.js';

test('a token that does not outlive the schedule is reported at start, in health and by status', async () => {
  const provider = await startProviderServer({ tokenLifeSeconds: 86_400 });
  const env = {
    BROKER_DATA_DIR: join(await temporaryFolder(), 'data'),
    BROKER_ISSUER: provider.issuer,
    BROKER_AUDIENCE: 'https://services.example.test',
  };
  const input = '{"client_id":"broker","client_secret":"right-secret"}';
  await runCommand(['credentials', 'set'], env, { input });
  expect(await runCommand(['rotate'], env)).toMatchObject({ code: 0 });
  expect((await runCommand(['status'], env)).stdout).toMatch(/TOO SHORT: A token lives 24\.00 h/);
  const broker = await startBroker(['serve'], env);
  const health = (await (await fetch(`${broker.url}/health/ready`)).json()) as object;
  expect(health).toMatchObject({
    status: 'degraded',
    details: { coverage: { status: 'degraded' } },
  });
  await broker.stop();
  expect(broker.stdout()).toContain('coverage falls short');
  await provider.close();
});
