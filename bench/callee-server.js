// Both ends of a client in one process: the broker, which answers `/oauth2/token`, and the service that is called, which
// answers those who present that token, or one that begins with it. Started by `fork`; it is sent { token } once, and says on
// which port it listens.
import { createServer } from 'node:http';

process.once('message', ({ token }) => {
  const grant = JSON.stringify({ access_token: token, token_type: 'Bearer', expires_in: 86_400 });
  const orders = JSON.stringify({ orders: [{ id: 1, state: 'paid' }] });
  const authorization = `Bearer ${token}`;
  const server = createServer((request, response) => {
    const asksForToken = request.url === '/oauth2/token';
    const isKnown = request.headers.authorization?.startsWith(authorization);
    const status = asksForToken || isKnown ? 200 : 401;
    const body = asksForToken ? grant : orders;
    response.writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    });
    request.resume();
    response.end(body);
  });
  server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
});
