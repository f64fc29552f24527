import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { Agent, createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import {
  BASE_ENVIRONMENT,
  CLI,
  startBroker,
  type BrokerProcess,
} from '../support/broker-process.js';
import { fixedPort } from '../support/fixed-port.js';
import { temporaryFolder } from './folders.js';
import { pause } from '../support/pause.js';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** Milliseconds until a process has ended after a signal. */
async function timeToEnd(broker: Pick<BrokerProcess, 'stop'>): Promise<number> {
  const start = performance.now();
  await broker.stop('SIGTERM');
  return performance.now() - start;
}

describe('a reader of standard output that stops reading', () => {
  /** A broker whose standard output is a pipe that nobody reads after the broker listens. */
  async function startUnread(
    args: readonly string[],
  ): Promise<{ child: ChildProcess; url: string }> {
    const port = fixedPort();
    const child = spawn(process.execPath, args, {
      env: {
        ...BASE_ENVIRONMENT,
        PORT: String(port),
        BROKER_DATA_DIR: join(await temporaryFolder(), 'data'),
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    closing.push(() => child.kill('SIGKILL'));
    child.stdout?.pause();
    const url = `http://127.0.0.1:${port}`;
    for (let isUp = false; !isUp;) {
      isUp = await fetch(`${url}/health/live`).then(
        (response) => response.ok,
        () => new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 100)),
      );
    }
    return { child, url };
  }

  /** Has it write log lines, a hundred at a time, until they are more than a test needs, or `most`. */
  async function flood(
    url: string,
    most: number,
    isEnough = (): Promise<boolean> => Promise.resolve(false),
  ): Promise<void> {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname);
    const batch = 'GET /nothing HTTP/1.1\r\nHost: broker\r\n\r\n'.repeat(100);
    let answers = 0;
    socket.on('data', (chunk: Buffer) => {
      answers += chunk.toString('latin1').split('HTTP/1.1 404').length - 1;
    });
    for (let count = 1; count * 100 <= most && !(await isEnough()); count += 1) {
      socket.write(batch);
      const enough = count * 100 - 50;
      const isBehind = (): boolean => answers < enough;
      while (isBehind()) await once(socket, 'data');
    }
    socket.destroy();
  }

  const droppedIn = async (url: string): Promise<number> => {
    const text = await (await fetch(`${url}/metrics`)).text();
    return Number(/^service_token_broker_log_lines_dropped_total (\d+)$/m.exec(text)?.[1]);
  };

  test('neither holds the broker up nor its end, and what was dropped is counted and said', async () => {
    const { child, url } = await startUnread([CLI, 'serve']);
    expect(await droppedIn(url)).toBe(0);
    // More than a pipe and the buffer hold.
    await flood(url, 8_000, async () => (await droppedIn(url)) > 100);
    const dropped = await droppedIn(url);
    expect(dropped).toBeGreaterThan(100);
    // It flows again: the log says how many, once.
    let text = '';
    child.stdout?.on('data', (chunk: Buffer) => (text += chunk.toString())).resume();
    while (!/log lines were dropped[^\n]*\n/.test(text)) await once(child.stdout ?? child, 'data');
    const said = text.split('\n').filter((line) => line.includes('log lines were dropped'));
    expect(said.map((line) => JSON.parse(line) as object)).toEqual([
      expect.objectContaining({ level: 'warn', lines: dropped }),
    ]);
    // And stops again.
    child.stdout?.pause();
    await flood(url, 8_000, async () => (await droppedIn(url)) > dropped + 100);
    const start = performance.now();
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  test('that is gone does not end the broker', async () => {
    const { child, url } = await startUnread([CLI, 'serve']);
    child.stdout?.destroy();
    child.stderr?.destroy();
    await flood(url, 1_000);
    expect((await fetch(`${url}/health/live`)).status).toBe(200);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  });
});

describe('SIGTERM ends the process within ten seconds', () => {
  const environment = async () => ({ BROKER_DATA_DIR: join(await temporaryFolder(), 'data') });

  test('while a request is half sent, and a connection silent', async () => {
    const broker = await startBroker(['serve'], await environment());
    const { hostname, port } = new URL(broker.url);
    for (const text of [
      '',
      'POST /oauth2/token HTTP/1.1\r\nHost: b\r\n',
      'POST /oauth2/token HTTP/1.1\r\nHost: b\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 99\r\n\r\ngrant',
    ]) {
      const socket = connect(Number(port), hostname).on('error', () => undefined);
      await once(socket, 'connect');
      socket.write(text);
      closing.push(() => socket.destroy());
    }
    expect(await timeToEnd(broker)).toBeLessThan(10_000);
    expect(await broker.exit).toEqual({ code: 0, signal: null });
  });

  test('while the provider hangs', async () => {
    const sockets: { destroy(): void }[] = [];
    const provider = createServer(() => undefined).on('connection', (one) => sockets.push(one));
    await once(provider.listen(0, '127.0.0.1'), 'listening');
    closing.push(() => {
      provider.close();
      for (const socket of sockets) socket.destroy();
    });
    const { port } = provider.address() as AddressInfo;
    const env = {
      ...(await environment()),
      BROKER_ISSUER: `http://127.0.0.1:${port}`,
      BROKER_TOKEN_ENDPOINT: `http://127.0.0.1:${port}/token`,
      BROKER_JWKS_URI: `http://127.0.0.1:${port}/jwks`,
      BROKER_AUDIENCE: 'https://services.example.test',
    };
    const set = spawn(process.execPath, [CLI, 'credentials', 'set'], {
      env: { ...BASE_ENVIRONMENT, ...env },
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    set.stdin.end('{"client_id":"broker","client_secret":"a-secret-of-the-broker"}');
    await once(set, 'exit');
    const asked = once(provider, 'request');
    const broker = await startBroker(['serve'], env);
    await asked;
    expect(await timeToEnd(broker)).toBeLessThan(10_000);
  });

  test('a second signal ends it at once, during the delay', async () => {
    const broker = await startBroker(['serve'], {
      ...(await environment()),
      BROKER_SHUTDOWN_DELAY_SECONDS: '60',
    });
    void broker.stop('SIGTERM');
    while (!broker.stdout().includes('"seconds":60')) await pause();
    const ready = await fetch(`${broker.url}/health/ready`);
    expect(ready.status).toBe(503);
    expect(await ready.json()).toMatchObject({
      details: { process: { status: 'down', code: 'BROKER_STOPPING' } },
    });
    expect((await fetch(`${broker.url}/health/live`)).status).toBe(200);
    expect(await broker.stop('SIGTERM')).toEqual({ code: null, signal: 'SIGTERM' });
  });
});

describe('a rolling restart behind a load balancer', () => {
  /** Sends each request to a replica that is ready, and probes them all again and again. */
  class Balancer {
    readonly #ready = new Set<string>();
    readonly #agent = new Agent({ keepAlive: true });
    readonly #probes: NodeJS.Timeout;
    #next = 0;

    /** @param replicas the `Authorization` header for each replica's URL. */
    constructor(private readonly replicas: ReadonlyMap<string, string>) {
      this.#probes = setInterval(() => void this.probe(), 50);
      closing.push(() => {
        clearInterval(this.#probes);
        this.#agent.destroy();
      });
    }

    async probe(): Promise<void> {
      for (const url of this.replicas.keys()) {
        const isReady = await fetch(`${url}/health/ready`).then(
          ({ ok }) => ok,
          () => false,
        );
        if (isReady) this.#ready.add(url);
        else this.#ready.delete(url);
      }
    }

    async until(count: number): Promise<void> {
      while (this.#ready.size !== count) await new Promise((go) => setTimeout(go, 20));
    }

    /** The status, after as many attempts as HTTP allows: a kept connection may be closed while a request is sent on it. */
    async get(): Promise<number> {
      const urls = [...this.#ready];
      const url = urls[(this.#next += 1) % urls.length];
      if (url === undefined) throw new Error('No replica is ready.');
      for (;;) {
        const request = httpRequest(`${url}/v1/token`, {
          agent: this.#agent,
          headers: { authorization: this.replicas.get(url) },
        }).end();
        try {
          const [response] = (await once(request, 'response')) as [IncomingMessage];
          for await (const _chunk of response);
          return response.statusCode ?? 0;
        } catch (error) {
          // RFC 9110 §9.2.2, RFC 9112 §9.3.1: GET on a connection that was used before.
          if (!request.reusedSocket) throw error;
        }
      }
    }
  }

  test('fails no request', async () => {
    const replicas = await Promise.all(
      [0, 1].map(async () => {
        const folder = join(await temporaryFolder(), 'data');
        const env = {
          BROKER_DATA_DIR: folder,
          BROKER_SHUTDOWN_DELAY_SECONDS: '1',
          PORT: String(fixedPort()),
        };
        const broker = await startBroker(['dev'], env);
        const peer = JSON.parse(await readFile(join(folder, 'demo-peer.json'), 'utf8')) as {
          readonly id: string;
          readonly secret: string;
        };
        const credentials = Buffer.from(`${peer.id}:${peer.secret}`).toString('base64');
        return { env, broker, authorization: `Basic ${credentials}` };
      }),
    );
    const balancer = new Balancer(
      new Map(replicas.map(({ broker, authorization }) => [broker.url, authorization])),
    );
    await balancer.until(2);
    const loaded = new AbortController();
    const statuses = new Map<string, number>();
    const load = Array.from({ length: 8 }, async () => {
      while (!loaded.signal.aborted) {
        const outcome = await balancer.get().then(String, String);
        statuses.set(outcome, (statuses.get(outcome) ?? 0) + 1);
        // Without a pause the load would take the processor that the next replica needs to start.
        await new Promise((go) => setTimeout(go, 50));
      }
    });
    for (const replica of replicas) {
      expect(await replica.broker.stop('SIGTERM')).toEqual({ code: 0, signal: null });
      replica.broker = await startBroker(['dev'], replica.env);
      await balancer.until(2);
    }
    loaded.abort();
    await Promise.all(load);
    expect([...statuses.keys()]).toEqual(['200']);
    expect(statuses.get('200')).toBeGreaterThan(200);
  });
});
