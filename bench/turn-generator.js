// A load that takes turns: a number of requests to one server, as many to the next, and so on, so that whatever else the
// machine does hits all of them alike. In a process of its own, started by `fork`; for each { urls, authorizations,
// connections, requests, turns } that it is sent, it says how many nanoseconds each turn of each server took. Each server gets
// the authorizations one after the other, and then from the first again.
import { once } from 'node:events';
import { connect } from 'node:net';

const STATUS = 'HTTP/1.1 200 ';

process.on('message', (wanted) => {
  measure(wanted).then(
    (nanoseconds) => process.send({ nanoseconds }),
    (error) => process.send({ error: String(error) }),
  );
});

async function measure({ urls, authorizations, connections, requests, turns }) {
  const servers = await Promise.all(
    urls.map((url) => openServer(new URL(url), authorizations, connections)),
  );
  try {
    const nanoseconds = servers.map(() => []);
    for (let turn = 0; turn < turns; turn += 1) {
      const order = [...servers.entries()];
      for (const [index, server] of turn % 2 === 0 ? order : order.toReversed()) {
        nanoseconds[index].push(await server.answer(requests));
      }
    }
    return nanoseconds;
  } finally {
    for (const server of servers) server.close();
  }
}

/** Open connections to a server, each with one request in flight during a turn. */
async function openServer({ hostname, port, pathname, host }, authorizations, connections) {
  const asked = authorizations.map((authorization) =>
    Buffer.from(
      `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${authorization}\r\n\r\n`,
    ),
  );
  let next = 0;
  const sockets = await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = connect({ host: hostname, port: Number(port), noDelay: true });
      await once(socket, 'connect');
      return socket;
    }),
  );
  const length = await answerLength(sockets[0], asked.at(-1));
  let turn;
  for (const socket of sockets) {
    let received = 0;
    socket.on('data', (chunk) => {
      const status = received > 0 ? STATUS : chunk.latin1Slice(0, STATUS.length);
      received += chunk.length;
      if (status !== STATUS) turn.fail(new Error(`An answer begins with ${status}`));
      else if (received > length) turn.fail(new Error(`${received} bytes in place of ${length}`));
      else if (received === length) {
        received = 0;
        turn.answered(socket);
      }
    });
    socket.on('error', (error) => turn.fail(error));
    socket.on('close', () => turn.fail(new Error('A connection was closed.')));
  }
  return {
    /** Sends requests over all connections. @returns nanoseconds until the last is answered. */
    answer: (requests) =>
      new Promise((resolve, reject) => {
        let [left, waiting] = [requests, requests];
        const start = process.hrtime.bigint();
        const send = (socket) => {
          if (left === 0) return;
          left -= 1;
          socket.write(asked[next]);
          next = (next + 1) % asked.length;
        };
        const answered = (socket) => {
          waiting -= 1;
          if (waiting === 0) resolve(Number(process.hrtime.bigint() - start));
          else send(socket);
        };
        turn = { answered, fail: reject };
        sockets.forEach(send);
      }),
    close: () => {
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** All answers have the same bytes but for the date, and so the same length. */
async function answerLength(socket, request) {
  socket.write(request);
  let answer = '';
  for (;;) {
    const [chunk] = await once(socket, 'data');
    answer += chunk.latin1Slice();
    const end = answer.indexOf('\r\n\r\n');
    const [, body] = /\r\ncontent-length: (\d+)\r\n/i.exec(answer) ?? [];
    if (end >= 0 && body === undefined) throw new Error(`No Content-Length: ${answer}`);
    if (end >= 0 && answer.length >= end + 4 + Number(body)) return answer.length;
  }
}
