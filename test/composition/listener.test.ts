import { once } from 'node:events';
import type { RequestListener, ServerResponse } from 'node:http';
import { type AddressInfo, connect, type Socket } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import {
  createListener,
  decideConnectionLimit,
  descriptorLimit,
  type ListenerOptions,
} from '../../src/composition/listener.js';
import { pause } from '../support/pause.js';

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

const ok: RequestListener = (_request, response) => void response.end('ok');

async function listen(handler: RequestListener = ok, options: ListenerOptions = {}) {
  const refused: string[] = [];
  let open = 0;
  const listener = createListener(handler, {
    observer: {
      opened: () => (open += 1),
      closed: () => (open -= 1),
      refused: (how) => refused.push(how),
    },
    ...options,
  });
  const { server } = listener;
  await once(server.listen(0, '127.0.0.1'), 'listening');
  closing.push(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  return { ...listener, port, refused, open: () => open };
}

/** A connection, with all that was received on it. */
class Peer {
  text = '';
  readonly socket: Socket;
  readonly closed: Promise<string>;

  constructor(port: number) {
    this.socket = connect(port, '127.0.0.1');
    this.socket.on('data', (chunk: Buffer) => (this.text += chunk.toString('latin1')));
    this.socket.on('error', () => undefined);
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve(this.text)));
    closing.push(() => this.socket.destroy());
  }

  send(text: string): this {
    this.socket.write(text);
    return this;
  }

  /** What was received, as soon as it matches. */
  async until(pattern: RegExp): Promise<string> {
    while (!pattern.test(this.text)) {
      if (this.socket.destroyed) throw new Error(`Closed after ${JSON.stringify(this.text)}`);
      await Promise.race([once(this.socket, 'data').catch(() => this.closed), this.closed]);
    }
    return this.text;
  }
}

const GET = 'GET /v1/token HTTP/1.1\r\nHost: broker\r\n\r\n';
const HEALTH = GET.replace('/v1/token', '/health/ready');

describe('what is slow is closed', () => {
  const options = { requestTimeoutMs: 100, checkIntervalMs: 20 };

  test.each([
    ['nothing at all', ''],
    ['half a head', 'POST /oauth2/token HTTP/1.1\r\nHo'],
    [
      'half a body',
      'POST /oauth2/token HTTP/1.1\r\nHost: broker\r\nContent-Length: 100\r\n\r\ngrant',
    ],
    [
      'half a chunked body',
      'POST /oauth2/token HTTP/1.1\r\nHost: broker\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ngrant',
    ],
  ])('a request of which %s arrives', async (_what, text) => {
    const { port } = await listen((request, response) => {
      request.resume().on('end', () => response.end('ok'));
    }, options);
    expect(await new Peer(port).send(text).closed).toMatch(/^HTTP\/1.1 408 /);
  });

  test('a body that drips in, byte by byte', async () => {
    const { port } = await listen((request, response) => {
      request.resume().on('end', () => response.end('ok'));
    }, options);
    const peer = new Peer(port).send(
      'POST / HTTP/1.1\r\nHost: broker\r\nContent-Length: 100000\r\n\r\n',
    );
    const drip = setInterval(() => peer.send('x'), 5);
    expect(await peer.closed).toMatch(/^HTTP\/1.1 408 /);
    clearInterval(drip);
  });

  test('a body that is never sent although the answer was given', async () => {
    const { port } = await listen(ok, options);
    const peer = new Peer(port).send(
      'GET / HTTP/1.1\r\nHost: broker\r\nContent-Length: 100\r\n\r\n',
    );
    expect(await peer.closed).toMatch(/^HTTP\/1.1 200 /);
  });

  test('a caller that does not read its answer', async () => {
    const { port, open } = await listen(
      (_request, response) => void response.end('x'.repeat(50_000_000)),
      options,
    );
    const peer = new Peer(port);
    peer.socket.pause();
    peer.send(GET);
    await once(peer.socket, 'connect');
    while (open() === 0) await pause();
    while (open() > 0) await pause();
    peer.socket.resume();
    expect((await peer.closed).length).toBeLessThan(50_000_000);
  });

  test('a caller that reads slowly but reads, and a slow answer, are waited for', async () => {
    let answer = (): void => undefined;
    const { port } = await listen(
      (request, response) => {
        if (request.url === '/slow') answer = () => response.end('ok');
        else response.end('x'.repeat(8_000_000));
      },
      { ...options, requestTimeoutMs: 500 },
    );
    const slow = new Peer(port).send(GET.replace('/v1/token', '/slow'));
    const reader = connect(port, '127.0.0.1');
    reader.write(GET);
    let received = 0;
    for await (const chunk of reader) {
      received += (chunk as Buffer).length;
      if (received >= 8_000_000) break;
      await new Promise((go) => setTimeout(go, 5));
    }
    expect(received).toBeGreaterThanOrEqual(8_000_000);
    answer();
    expect(await slow.until(/ok$/)).toMatch(/^HTTP\/1.1 200 /);
  });
});

describe('headers that may be read in two ways are refused', () => {
  const ask = async (...headers: string[]): Promise<string> => {
    const { port } = await listen();
    const text = `GET / HTTP/1.1\r\n${headers.map((header) => `${header}\r\n`).join('')}\r\n`;
    return new Peer(port).send(text).until(/\r\n\r\n/);
  };

  test.each([
    [['Host: a', 'Host: a']],
    [['Host: a', 'X-Other: 1', 'hOST: b']],
    [['Host: a', 'Host:']],
    [['Host: a b']],
    [['Host: a/b']],
    [['Host: user@a']],
    [['Host: a:port']],
    [['Host: <script>']],
    [['Host: a', 'Content-Type: text/plain', 'Content-Type: application/json']],
    [['Host: a', 'Content-Length: 1', 'Content-Length: 2']],
    [[]],
  ])('%j', async (headers: string[]) => {
    const answer = await ask(...headers);
    expect(answer).toMatch(/^HTTP\/1.1 400 [^]*^Connection: close\r$/im);
  });

  test.each([
    'broker',
    'broker.example:3000',
    '127.0.0.1',
    '[::1]:3000',
    '',
    'xn--bcher-kva.example.',
    'my_service:80',
  ])('Host: %s is served', async (host) => {
    expect(await ask(`Host: ${host}`)).toMatch(/^HTTP\/1.1 200 /);
  });

  test('HTTP/1.0 has no Host', async () => {
    const { port } = await listen();
    expect(await new Peer(port).send('GET / HTTP/1.0\r\n\r\n').closed).toMatch(/^HTTP\/1.1 200 /);
  });
});

describe('more connections than the limit', () => {
  /** A server of which every place is taken by a request that waits for `answer`. */
  async function full(places = 3) {
    const waiting: ServerResponse[] = [];
    const listening = await listen(
      (request, response) => {
        if (request.url === '/busy') waiting.push(response);
        else response.end('ok');
      },
      { maxConnections: places, checkIntervalMs: 20, graceMs: 200 },
    );
    const busy = Array.from({ length: places }, () =>
      new Peer(listening.port).send(GET.replace('/v1/token', '/busy')),
    );
    while (waiting.length < places) await pause();
    return { ...listening, busy, answer: () => waiting.forEach((response) => response.end('ok')) };
  }

  test('get 503 with Retry-After, while health and metrics are answered', async () => {
    const { port, refused, busy, answer, open } = await full();
    const refusal = await new Peer(port).send(GET).closed;
    expect(refusal).toMatch(/^HTTP\/1.1 503 [^]*^Retry-After: 1\r\n[^]*^Connection: close\r$/m);
    expect(refusal).toContain('"error":"temporarily_unavailable"');
    for (const path of ['/health/ready', '/health/live', '/metrics', '/metrics?x=1']) {
      const answered = await new Peer(port).send(GET.replace('/v1/token', path)).closed;
      expect(answered).toMatch(/^HTTP\/1.1 200 [^]*^Connection: close\r$/m);
    }
    expect(await new Peer(port).send(GET.replace('/v1/token', '/metricsx')).closed).toMatch(
      / 503 /,
    );
    expect(refused).toEqual(['answered', 'answered']);
    answer();
    for (const peer of busy) expect(await peer.until(/ok$/)).toMatch(/^HTTP\/1.1 200 /);
    busy[0]?.socket.destroy();
    while (open() > 2) await pause();
    expect(await new Peer(port).send(GET).until(/ok$/)).not.toMatch(/^connection: close/im);
  });

  test('are counted when not even that is possible', async () => {
    const { port, refused } = await full();
    const crowd = Array.from({ length: 16 + 5 }, () => new Peer(port));
    await Promise.race(crowd.map((peer) => peer.closed));
    while (refused.length < 5) await pause();
    expect(new Set(refused)).toEqual(new Set(['reset']));
    // Those that say nothing give their places up.
    for (const peer of crowd) await peer.closed;
    expect(await new Peer(port).send(HEALTH).closed).toMatch(/^HTTP\/1.1 200 /);
  });

  test('take the place of one that is idle', async () => {
    const { port, open, refused } = await listen(ok, { maxConnections: 2, graceMs: 20 });
    const first = new Peer(port).send(GET);
    await first.until(/ok$/);
    const second = new Peer(port);
    while (open() < 2) await pause();
    await new Promise((go) => setTimeout(go, 30));
    const third = new Peer(port).send(GET);
    expect(await third.until(/ok$/)).not.toMatch(/^connection: close/im);
    await first.closed;
    expect(second.socket.destroyed).toBe(false);
    expect(refused).toEqual([]);
  });

  test('that say nothing never keep health out', async () => {
    const options = { maxConnections: 100, graceMs: 20, checkIntervalMs: 20 };
    const { port } = await listen(ok, options);
    const crowd = Array.from({ length: 500 }, () => new Peer(port));
    // Each of them is reset, or stays because there is a place; those that stay say nothing.
    while (crowd.filter(({ socket }) => !socket.destroyed).length > 100) {
      await new Promise((go) => setTimeout(go, 5));
    }
    for (let count = 0; count < 20; count += 1) {
      expect(await new Peer(port).send(HEALTH).until(/ok$/)).toMatch(/^HTTP\/1.1 200 /);
    }
  });
});

describe('draining', () => {
  test('answers end their connections, also those that the handler writes by itself', async () => {
    const { port, endConnections } = await listen((_request, response) => {
      response.writeHead(200, ['Content-Length', '2']).end('ok');
    });
    const peer = new Peer(port).send(GET);
    expect(await peer.until(/ok$/)).not.toMatch(/^connection: close/im);
    endConnections();
    expect(await peer.send(GET).closed).toMatch(/^Connection: close\r$/m);
    expect(await new Peer(port).send(GET).closed).toMatch(/^Connection: close\r$/m);
  });

  test('a request in flight is finished; what is idle or silent is closed', async () => {
    let answer = (): void => undefined;
    const { port, server, drain } = await listen(
      (request, response) => {
        if (request.url === '/busy') answer = () => response.end('done');
        else response.end('ok');
      },
      { graceMs: 50 },
    );
    const [silent, idle, busy] = [new Peer(port), new Peer(port), new Peer(port)];
    await idle.send(GET).until(/ok$/);
    busy.send(GET.replace('/v1/token', '/busy'));
    await once(server, 'request');
    const closed = once(server, 'close');
    server.close();
    drain(60_000);
    await idle.closed;
    await silent.closed;
    expect(busy.socket.destroyed).toBe(false);
    answer();
    expect(await busy.closed).toMatch(/done$/);
    await closed;
  });

  test('what hangs is closed when patience ends', async () => {
    const { port, server, drain } = await listen(() => undefined);
    const busy = new Peer(port).send(GET);
    await once(server, 'request');
    const closed = once(server, 'close');
    server.close();
    drain(100);
    expect(await busy.closed).toBe('');
    await closed;
  });
});

test.each([
  [undefined, undefined, 4_096, false],
  [undefined, 1_048_576, 4_096, false],
  [undefined, 1_024, 928, false],
  [undefined, 256, 160, false],
  [undefined, 64, 1, false],
  [10_000, 1_048_576, 10_000, false],
  [10_000, undefined, 10_000, false],
  [928, 1_024, 928, false],
  [929, 1_024, 928, true],
  [5, 64, 1, true],
])('asked for %s, of %s files: %i connections', (asked, limit, max, hasWarning) => {
  const decided = decideConnectionLimit(asked, limit);
  expect(decided.max).toBe(max);
  expect(decided.warning !== undefined).toBe(hasWarning);
  if (hasWarning) expect(decided.warning).toContain(`at least ${(asked ?? 0) + 96}`);
});

test("the process's own limit is read where there is /proc", () => {
  const limit = descriptorLimit();
  if (process.platform === 'linux') expect(limit).toBeGreaterThan(0);
  else expect(limit).toBeUndefined();
});
