import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';

const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const hasGo = process.env['INTEROP_WITHOUT_GO'] === undefined;

// No registry has Grafana itself: its schema is what Grafana publishes for programs that make dashboards.
(hasGo ? describe : describe.skip)('the schema of Grafana', () => {
  let folder = '';
  let program = '';
  let dashboard = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'grafana-schema-'));
    program = join(folder, 'check');
    await promisify(execFile)('go', ['build', '-o', program, '.'], { cwd: path('dashboard') });
    dashboard = await readFile(path('../../../deploy/grafana/service-token-broker.json'), 'utf8');
  });

  afterAll(() => rm(folder, { recursive: true, force: true }));

  const check = async (given: string): Promise<readonly [code: number, said: string]> => {
    const child = spawn(program);
    const closed = once(child, 'close') as Promise<[number]>;
    child.stdin.end(given);
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
    return [(await closed)[0], out + err];
  };

  test('knows every member of the dashboard', async () => {
    const { panels } = JSON.parse(dashboard) as { panels: object[] };
    expect(await check(dashboard)).toEqual([0, `${panels.length} panels\n`]);
  });

  test.each([
    ['a member that it does not know', '"gridPos"', '"gridPlace"', "unexpected field 'gridPlace'"],
    ['an option of a wrong type', '"fillOpacity": 10', '"fillOpacity": "10"', 'fillOpacity'],
    ['a query without its text', '"expr"', '"expression"', "unexpected field 'expression'"],
  ])('refuses %s', async (_what, from, to, words) => {
    const [code, said] = await check(dashboard.replaceAll(from, to));
    expect(code).toBe(1);
    expect(said).toContain(words);
  });
});
