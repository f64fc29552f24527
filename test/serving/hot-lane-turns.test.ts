import { once } from 'node:events';
import type { Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { hotLaneServerFactory } from '../../src/serving/hot-lane.js';

describe('the answers of one turn', () => {
  const answer = (index: number) => ({
    status: 200,
    headers: ['Content-Type', 'text/plain', 'Content-Length', '1'],
    body: Buffer.from(String(index)),
  });

  /** A server whose lane answers every request with its number, and whose framework says 500. */
  async function numbered(onRequest: (server: Server, index: number) => void = () => undefined) {
    let asked = 0;
    const factory = hotLaneServerFactory(() => {
      asked += 1;
      onRequest(server, asked);
      return answer(asked);
    });
    const server = factory((_request, response) => void response.writeHead(500).end(), {});
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1').setEncoding('utf8');
    return { server, socket };
  }

  const GET = 'GET /v1/token HTTP/1.1\r\nHost: broker\r\n\r\n';

  test('come in the order of the requests, and leave the connection open', async () => {
    const { server, socket } = await numbered();
    socket.write(GET.repeat(3));
    let text = '';
    for await (const chunk of socket) {
      text += String(chunk);
      if (text.split('HTTP/1.1 200 OK').length === 4 && text.endsWith('3')) break;
    }
    expect(text.match(/\r\n\r\n[0-9]/g)).toEqual(['1', '2', '3'].map((n) => `\r\n\r\n${n}`));
    expect(text).not.toMatch(/^connection: close/im);
    server.close();
  });

  test('end their connections when the server was closed in that turn', async () => {
    const { server, socket } = await numbered((closing) => closing.close());
    const closed = once(server, 'close');
    socket.write(GET);
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    expect(text).toMatch(/^HTTP\/1.1 200 OK[^]*^Connection: close\r\n[^]*\r\n\r\n1$/m);
    await closed;
  });
});
