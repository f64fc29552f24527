import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { basic, demoPeer } from '../../e2e/peer-http.js';
import { startBroker } from '../../support/broker-process.js';
import { fixedPort } from '../../support/fixed-port.js';

const run = promisify(execFile);
const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const hasGo = process.env['INTEROP_WITHOUT_GO'] === undefined;

// The page's own set-up, with the SDK from npm, and a collector of the project's own parts.
(hasGo ? describe : describe.skip)('a broker, set up as docs/traces.md says', () => {
  const port = fixedPort();
  let folder = '';
  let collector: ChildProcess | undefined;
  let said = '';

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'collector-'));
    const page = await readFile(path('../../../docs/traces.md'), 'utf8');
    const [, packages = ''] =
      /npm install (@opentelemetry\/\S+ @opentelemetry\/\S+)/.exec(page) ?? [];
    const [, script = ''] = /```js\n([\s\S]+?)```/.exec(page) ?? [];
    expect([packages, script]).not.toContain('');
    const sdk = join(folder, 'sdk');
    await mkdir(sdk);
    await writeFile(join(sdk, 'package.json'), '{ "private": true }');
    await writeFile(join(sdk, 'otel.mjs'), script);
    const options = ['--ignore-scripts', '--no-audit', '--no-fund'];
    await run('npm', ['install', ...options, ...packages.split(' ')], { cwd: sdk });
    const program = join(folder, 'collector');
    await run('go', ['build', '-o', program, '.'], { cwd: path('collector') });
    const pipeline = { receivers: ['otlp'], exporters: ['debug'] };
    const config = {
      receivers: { otlp: { protocols: { http: { endpoint: `127.0.0.1:${port}` } } } },
      exporters: { debug: { verbosity: 'detailed' } },
      service: {
        telemetry: { metrics: { level: 'none' } },
        pipelines: { traces: pipeline, metrics: pipeline },
      },
    };
    collector = spawn(program, ['--config', `yaml:${JSON.stringify(config)}`]);
    collector.stderr?.on('data', (text: Buffer) => (said += text.toString()));
    await untilSaid('Everything is ready');
    // The first build on a machine fetches and compiles all parts of the collector.
  }, 900_000);
  afterAll(async () => {
    if (collector?.exitCode === null) {
      collector.kill();
      await once(collector, 'exit');
    }
    await rm(folder, { recursive: true, force: true });
  });

  const untilSaid = async (words: string): Promise<void> => {
    for (const start = performance.now(); !said.includes(words);) {
      if (performance.now() - start > 60_000) throw new Error(`No "${words}" in:\n${said}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };

  test('sends its spans and metrics to a collector, in the trace of the peer', async () => {
    const dataDir = join(folder, 'broker');
    await mkdir(dataDir, { mode: 0o700 });
    const broker = await startBroker(['dev'], {
      BROKER_DATA_DIR: dataDir,
      NODE_OPTIONS: `--import ${join(folder, 'sdk', 'otel.mjs')}`,
      OTEL_SERVICE_NAME: 'service-token-broker',
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      OTEL_METRICS_EXPORTER: 'otlp',
    });
    const { id, secret } = await demoPeer(dataDir);
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const response = await fetch(`${broker.url}/v1/token`, {
      headers: { authorization: basic(id, secret), traceparent },
    });
    const { access_token: token } = (await response.json()) as { access_token: string };
    expect(response.status).toBe(200);
    // What was asked a moment ago is exported before the process ends.
    expect(await broker.stop()).toEqual({ code: 0, signal: null });
    await untilSaid('http.server.request.duration');
    expect(said).toMatch(/service\.name: Str\(service-token-broker\)/);
    const served = said.split(/\nSpan #\d+\n/).find((span) => /Name +: GET \/v1\/token/.test(span));
    expect(served).toMatch(/Trace ID +: 0af7651916cd43dd8448eb211c80319c/);
    expect(served).toMatch(/Parent ID +: b7ad6b7169203331/);
    expect(served).toMatch(/Kind +: Server/);
    expect(served).toMatch(/service_token\.peer: Str\(demo\)/);
    for (const name of ['rotate', 'rotation.createSecret', 'mint', 'verify', 'store.promote']) {
      expect(said).toMatch(new RegExp(`Name +: service_token\\.${name}\\n`));
    }
    for (const name of ['rotate', 'rotation.step', 'mint', 'verify', 'store']) {
      expect(said).toContain(`-> Name: service_token.${name}.duration`);
    }
    for (const text of [secret, token, 'eyJ']) expect(said).not.toContain(text);
  });
});
