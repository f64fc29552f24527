import { once } from 'node:events';
import type { RequestListener } from 'node:http';
import { request as httpsRequest, Agent } from 'node:https';
import { connect as connectTcp, type AddressInfo, type Socket } from 'node:net';
import { connect } from 'node:tls';
import { afterEach, describe, expect, test } from '@jest/globals';
import { createListener, type ListenerOptions } from '../../src/composition/listener.js';
import type { ServerCertificate } from '../../src/composition/server-certificate.js';
import { makeCertificate, type MadeCertificate } from '../support/certificates.js';
import { pause } from '../support/pause.js';

const OLD = makeCertificate({ commonName: 'old', addresses: ['127.0.0.1'] });
const NEW = makeCertificate({ commonName: 'new', addresses: ['127.0.0.1'] });

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

const certificateOf = (made: MadeCertificate, clientCa?: string): ServerCertificate => ({
  certificate: made.cert,
  key: made.key,
  subject: `CN=${made.commonName}`,
  startsAt: 0,
  endsAt: Number.MAX_SAFE_INTEGER,
  clientCa,
});

const ok: RequestListener = (_request, response) => void response.end('ok');

async function listen(options: ListenerOptions = {}, handler = ok) {
  const refused: string[] = [];
  let open = 0;
  const listener = createListener(handler, {
    tls: certificateOf(OLD),
    observer: {
      opened: () => (open += 1),
      closed: () => (open -= 1),
      refused: (how) => refused.push(how),
    },
    ...options,
  });
  await once(listener.server.listen(0, '127.0.0.1'), 'listening');
  closing.push(() => {
    listener.server.close();
    listener.server.closeAllConnections();
  });
  const { port } = listener.server.address() as AddressInfo;
  return { ...listener, port, refused, open: () => open };
}

/** All that is received until the connection is closed. */
function closed(socket: Socket): Promise<string> {
  let text = '';
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')));
  socket.on('error', () => undefined);
  closing.push(() => socket.destroy());
  return new Promise((resolve) => socket.once('close', () => resolve(text)));
}

async function secure(port: number, ca = OLD) {
  const socket = connect({ host: '127.0.0.1', port, ca: ca.cert });
  const end = closed(socket);
  await once(socket, 'secureConnect');
  return { socket, end };
}

const GET = 'GET /v1/token HTTP/1.1\r\nHost: broker\r\n\r\n';
const HEALTH = GET.replace('/v1/token', '/health/ready');
const LAST = GET.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n');

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await pause();
}

describe('what is slow is closed', () => {
  const options = { requestTimeoutMs: 100, checkIntervalMs: 20 };

  test.each([
    ['of which nothing arrives', () => undefined],
    [
      'that stops in its first message',
      (socket: Socket) => socket.write('\x16\x03\x01\x02\x00\x01'),
    ],
    [
      'that drips in, byte by byte',
      (socket: Socket) => {
        const drip = setInterval(() => socket.write('\x16\x03\x01\x3f\xff\x01'.charAt(0)), 5);
        socket.write('\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb\x03\x03', 'latin1');
        socket.once('close', () => clearInterval(drip));
      },
    ],
  ])('a handshake %s', async (_what, start) => {
    const { port, open } = await listen(options);
    const socket = connectTcp(port, '127.0.0.1');
    start(socket);
    await closed(socket);
    await until(() => open() === 0);
  });

  /** On a busy machine the handshake and the bytes take a while: they have to be there before the answer. */
  const patient = { ...options, requestTimeoutMs: 600 };

  test.each([
    ['nothing', ''],
    ['half a head', 'POST /oauth2/token HTTP/1.1\r\nHo'],
    ['half a body', 'POST / HTTP/1.1\r\nHost: broker\r\nContent-Length: 100\r\n\r\ngrant'],
  ])('a request of which %s arrives', async (_what, text) => {
    const { port } = await listen(patient, (request, response) => {
      request.resume().on('end', () => response.end('ok'));
    });
    const { socket, end } = await secure(port);
    socket.write(text);
    expect(await end).toMatch(/^HTTP\/1.1 408 /);
  });

  test('a caller that does not read its answer', async () => {
    const { port, open } = await listen(options, (_request, response) => {
      response.end('x'.repeat(50_000_000));
    });
    const { socket, end } = await secure(port);
    socket.pause();
    socket.write(GET);
    await until(() => open() === 0);
    socket.resume();
    expect((await end).length).toBeLessThan(50_000_000);
  });
});

describe('more connections than can be served', () => {
  test('get 503, except for health; an idle one gives way', async () => {
    const answers: (() => void)[] = [];
    const { port, refused, open } = await listen(
      { maxConnections: 2, graceMs: 0 },
      (request, response) => {
        if (request.url === '/health/ready') response.end('healthy');
        else answers.push(() => response.end('ok'));
      },
    );
    const [one, two] = [await secure(port), await secure(port)];
    one.socket.write(LAST);
    two.socket.write(LAST);
    await until(() => answers.length === 2);
    const three = await secure(port);
    three.socket.write(GET);
    expect(await three.end).toMatch(/^HTTP\/1.1 503 [^]*temporarily_unavailable/);
    const four = await secure(port);
    four.socket.write(HEALTH);
    expect(await four.end).toMatch(/^HTTP\/1.1 200 [^]*healthy/);
    expect(refused).toEqual(['answered']);
    for (const answer of answers.splice(0)) answer();
    expect(await one.end).toMatch(/^HTTP\/1.1 200 /);
    expect(await two.end).toMatch(/^HTTP\/1.1 200 /);
    await until(() => open() === 0);
    // Idle after its handshake, and in the middle of one.
    const idle = await secure(port);
    const stalled = connectTcp(port, '127.0.0.1');
    const isStalledClosed = closed(stalled);
    await once(stalled, 'connect');
    const [five, six] = [await secure(port), await secure(port)];
    await Promise.all([idle.end, isStalledClosed]);
    five.socket.write(LAST);
    six.socket.write(LAST);
    await until(() => answers.length === 2);
  });
});

test('draining closes what is idle or shakes hands, and waits for what is in use', async () => {
  let answer = (): void => undefined;
  const { port, drain, server } = await listen({ graceMs: 0 }, (_request, response) => {
    answer = () => response.end('ok');
  });
  const [idle, busy] = [await secure(port), await secure(port)];
  const stalled = connectTcp(port, '127.0.0.1');
  const isStalledClosed = closed(stalled);
  await once(stalled, 'connect');
  const waited = answer;
  busy.socket.write(GET);
  await until(() => answer !== waited);
  drain(60_000);
  server.close();
  expect(await idle.end).toBe('');
  await isStalledClosed;
  answer();
  expect(await busy.end).toMatch(/^HTTP\/1.1 200 [^]*ok$/);
});

describe('another certificate', () => {
  const get = (port: number, agent: Agent): Promise<string> =>
    new Promise((resolve, reject) => {
      httpsRequest({ host: '127.0.0.1', port, agent }, (response) => {
        response.resume().on('end', () => resolve(String(response.headers.connection)));
      })
        .once('error', reject)
        .end();
    });
  const agentFor = (ca: MadeCertificate): Agent => {
    const agent = new Agent({ keepAlive: true, ca: ca.cert, maxSockets: 1 });
    closing.push(() => agent.destroy());
    return agent;
  };

  test('is for new connections, while those that are open go on', async () => {
    const { port, useCertificate, open } = await listen();
    const [old, fresh] = [agentFor(OLD), agentFor(NEW)];
    expect(await get(port, old)).toBe('keep-alive');
    await expect(get(port, fresh)).rejects.toThrow();
    useCertificate(certificateOf(NEW));
    expect(await get(port, fresh)).toBe('keep-alive');
    await until(() => open() === 2);
    expect(await get(port, old)).toBe('keep-alive');
    expect(open()).toBe(2);
    await expect(get(port, agentFor(OLD))).rejects.toThrow();
  });

  test('with other authorities, open connections end with their next answer', async () => {
    const { port, useCertificate } = await listen({ tls: certificateOf(OLD, OLD.cert) });
    const agent = agentFor(OLD);
    expect(await get(port, agent)).toBe('keep-alive');
    useCertificate(certificateOf(OLD, NEW.cert));
    expect(await get(port, agent)).toBe('close');
    expect(await get(port, agent)).toBe('keep-alive');
  });
});

test('a second handshake, which could bring another client certificate, is refused', async () => {
  const { port } = await listen({ tls: certificateOf(OLD, OLD.cert) });
  const socket = connect({
    host: '127.0.0.1',
    port,
    ca: OLD.cert,
    cert: OLD.cert,
    key: OLD.key,
    maxVersion: 'TLSv1.2',
  });
  closing.push(() => socket.destroy());
  await once(socket, 'secureConnect');
  const outcome = new Promise((resolve) => {
    socket.once('error', (error) => resolve(error.message));
    socket.renegotiate({ rejectUnauthorized: true }, (error) => resolve(error ?? 'repeated'));
  });
  expect(await outcome).toMatch(/no renegotiation/i);
});
