// The reference: the least that a Node server can do to send the answer it is told. Started by `fork`; it is sent
// { status, headers, body, keepAliveSeconds } once, and says on which port it listens.
import { createServer } from 'node:http';

process.once('message', ({ status, headers, body, keepAliveSeconds }) => {
  const bytes = Buffer.from(body);
  const server = createServer((request, response) => {
    response.writeHead(status, headers);
    response.end(bytes);
  });
  server.keepAliveTimeout = keepAliveSeconds * 1000;
  server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
});
