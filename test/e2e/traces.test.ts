import { readdir, readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterEach, expect, test } from '@jest/globals';
import { trace } from '@opentelemetry/api';
import { createServiceTokenClient } from '../../src/client/index.js';
import { runNode, startBroker } from '../support/broker-process.js';
import { startTelemetry, stopTelemetry } from '../support/telemetry.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { demoPeer } from './peer-http.js';

const newFolder = temporaryFolders('traced-process-');
const SDK = new URL('../support/otel-sdk.mjs', import.meta.url).href;
const DIST = pathToFileURL(fileURLToPath(new URL('../../dist/', import.meta.url))).href;

interface SentSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly attributes: readonly { readonly key: string; readonly value: object }[];
}

interface Sent {
  readonly resourceSpans: readonly {
    readonly scopeSpans: readonly { readonly spans: readonly SentSpan[] }[];
  }[];
}

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** Where a process sends its spans. */
async function startSink(): Promise<{
  readonly url: string;
  readonly spans: SentSpan[];
  readonly span: (name: string) => Promise<SentSpan>;
}> {
  const spans: SentSpan[] = [];
  const arrivals: (() => void)[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => (body += text));
    request.on('end', () => {
      const { resourceSpans } = JSON.parse(body) as Sent;
      spans.push(
        ...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((of) => of.spans)),
      );
      response.end('{}');
      for (const arrived of arrivals.splice(0)) arrived();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => server.close());
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    span: async (name) => {
      for (;;) {
        const found = spans.find((span) => span.name === name);
        if (found !== undefined) return found;
        await new Promise<void>((resolve) => arrivals.push(resolve));
      }
    },
  };
}

/** The scripts that a process has loaded, when it ended by itself. */
async function loadedScripts(folder: string): Promise<string[]> {
  const files = (await readdir(folder)).filter((name) => name.endsWith('.json'));
  expect(files.length).toBeGreaterThan(0);
  const texts = await Promise.all(files.map((name) => readFile(join(folder, name), 'utf8')));
  return texts.flatMap((text) =>
    (JSON.parse(text) as { result: { url: string }[] }).result.map(({ url }) => url),
  );
}

test('a broker in another process joins the trace of the peer’s call', async () => {
  const [sink, dataDir, coverage] = await Promise.all([startSink(), newFolder(), newFolder()]);
  const broker = await startBroker(['dev'], {
    BROKER_DATA_DIR: dataDir,
    NODE_OPTIONS: `--import ${SDK}`,
    NODE_V8_COVERAGE: coverage,
    OTEL_EXPORTER_OTLP_ENDPOINT: sink.url,
  });
  const peer = await demoPeer(dataDir);
  const telemetry = startTelemetry();
  closing.push(stopTelemetry);
  const client = createServiceTokenClient({ brokers: broker.url, peer, wait: false });
  await trace.getTracer('peer').startActiveSpan('job', async (job) => {
    await client.getToken();
    job.end();
  });
  const asked = await telemetry.span('POST /oauth2/token');
  const served = await sink.span('POST /oauth2/token');
  expect(served).toMatchObject({ traceId: asked.traceId, parentSpanId: asked.id, kind: 2 });
  // The first token was minted by the schedule, in a trace of its own.
  const rotated = await sink.span('service_token.rotate');
  expect(rotated.parentSpanId).toBeUndefined();
  const mint = await sink.span('service_token.mint');
  expect(mint.traceId).toBe(rotated.traceId);
  expect(JSON.stringify(sink.spans)).not.toMatch(new RegExp(`eyJ|${peer.secret}`));
  expect(await broker.stop()).toEqual({ code: 0, signal: null });
  expect((await loadedScripts(coverage)).join('\n')).toContain('@opentelemetry/sdk-trace');
});

test('without an SDK neither a broker nor the kit loads anything of OpenTelemetry', async () => {
  const [dataDir, ofBroker, ofKit] = await Promise.all([newFolder(), newFolder(), newFolder()]);
  const broker = await startBroker(['dev'], {
    BROKER_DATA_DIR: dataDir,
    NODE_V8_COVERAGE: ofBroker,
  });
  const peer = await demoPeer(dataDir);
  const script = `
    const { createServiceTokenClient } = await import('${DIST}client/index.js');
    const { JwtGuardModule } = await import('${DIST}guard/index.js');
    const peer = ${JSON.stringify(peer)};
    const client = createServiceTokenClient({ brokers: '${broker.url}', peer, wait: false });
    await client.getToken();
    console.log(typeof JwtGuardModule, Symbol.for('opentelemetry.js.api.1') in globalThis);`;
  const kit = await runNode(['--input-type=module', '-e', script], { NODE_V8_COVERAGE: ofKit });
  expect([kit.stdout.trim(), kit.code]).toEqual(['function false', 0]);
  expect(await broker.stop()).toEqual({ code: 0, signal: null });
  for (const folder of [ofBroker, ofKit]) {
    const scripts = await loadedScripts(folder);
    expect(scripts.some((url) => url.startsWith('file:'))).toBe(true);
    expect(scripts.filter((url) => url.includes('opentelemetry'))).toEqual([]);
  }
});
