import { afterAll } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { TEMPORARY } from '../support/temporary-folder.js';

const made: string[] = [];

afterAll(async () => {
  for (const folder of made.splice(0)) await rm(folder, { recursive: true, force: true });
});

/** An empty folder that lives as long as the test file. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(TEMPORARY, 'broker-e2e-'));
  made.push(folder);
  return folder;
}
