import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { startBroker, type BrokerProcess } from '../../support/broker-process.js';
import { fixedPort } from '../../support/fixed-port.js';
import { basic, demoPeer, getToken } from '../../e2e/peer-http.js';

const run = promisify(execFile);
const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const RULES = path('../../../deploy/prometheus-rules.yml');
const DASHBOARD = path('../../../deploy/grafana/service-token-broker.json');
/** The folder of Debian's prometheus and promtool. */
const PROGRAMS = process.env['INTEROP_PROMETHEUS'] ?? '';

describe('promtool', () => {
  const promtool = join(PROGRAMS, 'promtool');

  test('finds no mistake in the rules', async () => {
    const { stdout } = await run(promtool, ['check', 'rules', RULES]);
    expect(stdout).toMatch(/SUCCESS: \d+ rules found/);
  });

  test('sees the alerts go off when they should, and only then', async () => {
    const { stdout } = await run(promtool, ['test', 'rules', path('rules.test.yml')]);
    expect(stdout).toContain('SUCCESS');
  });
});

describe('Prometheus, with a broker to scrape', () => {
  let broker: BrokerProcess;
  let prometheus: ChildProcess;
  let folder = '';
  let url = '';
  let said = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'prometheus-'));
    const dataDir = join(folder, 'broker');
    await mkdir(dataDir, { mode: 0o700 });
    const [management, port] = [fixedPort(), fixedPort()];
    broker = await startBroker(['dev'], {
      BROKER_DATA_DIR: dataDir,
      BROKER_MANAGEMENT_PORT: String(management),
    });
    const { id, secret } = await demoPeer(dataDir);
    expect((await getToken(broker.url, basic(id, secret))).status).toBe(200);
    await getToken(broker.url, basic(id, 'a wrong secret'));
    const config = {
      global: { scrape_interval: '1s', evaluation_interval: '1s' },
      rule_files: [RULES],
      scrape_configs: [
        { job_name: 'broker', static_configs: [{ targets: [`127.0.0.1:${management}`] }] },
      ],
    };
    const file = join(folder, 'prometheus.yml');
    // JSON is YAML.
    await writeFile(file, JSON.stringify(config));
    url = `http://127.0.0.1:${port}`;
    prometheus = spawn(join(PROGRAMS, 'prometheus'), [
      `--config.file=${file}`,
      `--storage.tsdb.path=${join(folder, 'data')}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ]);
    prometheus.stderr?.on('data', (text: Buffer) => (said += text.toString()));
  });
  afterAll(async () => {
    if (prometheus?.exitCode === null) {
      prometheus.kill();
      await once(prometheus, 'exit');
    }
    await broker?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  interface Found {
    readonly status: string;
    readonly error?: string;
    readonly data?: { readonly result: readonly { readonly metric: object }[] };
  }
  const query = async (expr: string): Promise<Found> => {
    const response = await fetch(`${url}/api/v1/query?query=${encodeURIComponent(expr)}`);
    return (await response.json()) as Found;
  };
  const untilFound = async (expr: string): Promise<void> => {
    for (const start = performance.now(); ;) {
      const found = await query(expr).catch(() => undefined);
      if ((found?.data?.result.length ?? 0) > 0) return;
      if (performance.now() - start > 60_000) throw new Error(`Nothing for ${expr}:\n${said}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };

  test('every query of the dashboard is answered, those about what happened with values', async () => {
    // Two scrapes, and what increase() needs.
    await untilFound('count_over_time(service_token_broker_token_remaining_seconds[1m]) > 3');
    await untilFound('ALERTS_FOR_STATE or vector(1)');
    const { panels } = JSON.parse(await readFile(DASHBOARD, 'utf8')) as {
      readonly panels: readonly {
        readonly title: string;
        readonly targets?: readonly { readonly expr: string }[];
      }[];
    };
    const empty: string[] = [];
    for (const { title, targets = [] } of panels) {
      for (const { expr } of targets) {
        const filled = expr
          .replaceAll(/\$(?:instance|token)\b/g, '.*')
          .replaceAll('$__rate_interval', '1m')
          .replaceAll('$__range', '1h');
        expect([title, filled.includes('$')]).toEqual([title, false]);
        const { status, error, data } = await query(filled);
        expect([title, status, error]).toEqual([title, 'success', undefined]);
        if (data?.result.length === 0) empty.push(title);
      }
    }
    // Without a configuration file, TLS or another Region, and with nothing wrong.
    const mayBeEmpty = new Set([
      'Alerts that fire',
      'Configuration file',
      'TLS certificate',
      'Clock',
      'Tokens not served',
      'Decisions for gateways and receivers',
      'Reads that failed',
      'Reads in another Region',
      'Connections refused',
      'Comparisons of the clock',
      'Receivers',
    ]);
    expect(empty.filter((title) => !mayBeEmpty.has(title))).toEqual([]);
  });

  test('the rules are loaded, and none of them fires for a broker that is well', async () => {
    const response = await fetch(`${url}/api/v1/rules`);
    const { data } = (await response.json()) as {
      data: { groups: { rules: { name: string; health: string; state: string }[] }[] };
    };
    const rules = data.groups.flatMap((group) => group.rules);
    expect(rules.length).toBeGreaterThan(15);
    expect(rules.filter(({ state }) => state === 'firing')).toEqual([]);
    expect(rules.filter(({ health }) => health === 'err')).toEqual([]);
  });
});
