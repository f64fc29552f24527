import { Agent, createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { systemCode } from '../../src/tokens/http.js';
import { exchangeOverNode } from '../../src/tokens/node-exchange.js';

/** What the server got, and how it answers. */
const seen: {
  method?: string;
  url?: string;
  headers?: IncomingMessage['headers'];
  body?: string;
  port?: number | undefined;
} = {};
let answer: (response: ServerResponse) => void;
const server = createServer((request, response) => {
  const { method = '', url = '', headers } = request;
  let body = '';
  request.setEncoding('utf8').on('data', (part: string) => (body += part));
  request.on('end', () => {
    Object.assign(seen, { method, url, headers, body, port: request.socket.remotePort });
    answer(response);
  });
});
let origin = '';
const send = exchangeOverNode(() => ({ agent: false }));
const GET = { method: 'GET', headers: {} };

beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `127.0.0.1:${(server.address() as AddressInfo).port}`;
});
beforeEach(() => {
  answer = (response) => void response.end('body');
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

describe('a request', () => {
  test('is sent as it is, and its answer comes whole', async () => {
    answer = (response) => {
      response.setHeader('Content-Type', 'text/plain');
      response.setHeader('Set-Cookie', ['a=1', 'b=2']);
      response.setHeader('X-Empty', '').writeHead(418);
      response.end('short and stout');
    };
    const headers = { 'X-One': 'two' };
    const response = await send(`http://${origin}/a?b=c`, {
      method: 'POST',
      headers,
      body: 'text',
    });
    expect(seen).toMatchObject({
      method: 'POST',
      url: '/a?b=c',
      headers: { 'x-one': 'two' },
      body: 'text',
    });
    expect(response.status).toBe(418);
    expect(response.headers.get('content-type')).toBe('text/plain');
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2']);
    expect(response.headers.get('x-empty')).toBe('');
    expect(await response.text()).toBe('short and stout');
  });

  test('may have a form as its body', async () => {
    const body = new URLSearchParams({ a: 'b c', d: '&' });
    await (await send(new URL(`http://${origin}/`), { method: 'POST', headers: {}, body })).text();
    expect(seen.body).toBe('a=b+c&d=%26');
  });

  test('goes where the options for its URL say', async () => {
    const asked: string[] = [];
    const elsewhere = exchangeOverNode((url) => {
      asked.push(url.href);
      const [hostname = '', port = ''] = origin.split(':');
      return { agent: false, hostname, port, method: 'DELETE' };
    });
    await (await elsewhere('http://broker.internal/x', GET)).text();
    expect(asked).toEqual(['http://broker.internal/x']);
    expect(seen).toMatchObject({ method: 'GET', url: '/x' });
  });

  test('follows no redirect', async () => {
    answer = (response) => void response.writeHead(302, { location: '/elsewhere' }).end();
    const response = await send(`http://${origin}/here`, GET);
    expect([response.status, response.headers.get('location')]).toEqual([302, '/elsewhere']);
    expect(await response.text()).toBe('');
    expect(seen.url).toBe('/here');
  });

  test.each([204, 205, 304])('answered with %d has no body', async (status) => {
    answer = (response) => void response.writeHead(status).end();
    const response = await send(`http://${origin}/`, GET);
    expect([response.status, response.body]).toEqual([status, null]);
  });
});

test.each([204, 304])('a connection serves again after an answer with %d', async (status) => {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    answer = (response) => void response.writeHead(status).end();
    const sendAgain = exchangeOverNode(() => ({ agent }));
    const ports = new Set<number | undefined>();
    for (let turn = 0; turn < 3; turn += 1) {
      expect((await sendAgain(`http://${origin}/`, GET)).status).toBe(status);
      ports.add(seen.port);
    }
    expect(ports.size).toBe(1);
  } finally {
    agent.destroy();
  }
});

describe('a request fails', () => {
  test('when its signal ends it, before or in the middle', async () => {
    const stopped = new Error('stopped');
    const before = AbortSignal.abort(stopped);
    await expect(send(`http://${origin}/`, { ...GET, signal: before })).rejects.toMatchObject({
      name: 'AbortError',
    });
    const stop = new AbortController();
    answer = () => stop.abort(stopped);
    await expect(send(`http://${origin}/`, { ...GET, signal: stop.signal })).rejects.toMatchObject({
      name: 'AbortError',
    });
  });

  test('when nobody speaks TLS there', async () => {
    const failure: unknown = await send(`https://${origin}/`, GET).catch((error: unknown) => error);
    expect(systemCode(failure)).toMatch(/^(?:EPROTO|ERR_SSL_\w+)$/);
  });

  test('when the connection ends without an answer', async () => {
    answer = (response) => response.destroy();
    await expect(send(`http://${origin}/`, GET)).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  test('when no response has such a status', async () => {
    answer = (response) => void response.writeHead(999).end('body');
    await expect(send(`http://${origin}/`, GET)).rejects.toMatchObject({ name: 'RangeError' });
  });

  test('when the URL is none', async () => {
    await expect(send('nowhere', GET)).rejects.toMatchObject({ code: 'ERR_INVALID_URL' });
  });
});
