// A service that is called, in a process of its own. It verifies tokens as every receiver does, and then refuses what it was
// told to. Started by `fork` with the issuer, the audience and the JWKS's address; says on which port it listens, and what
// arrives. A request for `/held` waits, before it is judged, until it is told to go on.
import { once } from 'node:events';
import { createServer } from 'node:http';
import { createRemoteKeySet, createTokenVerifier } from '../../dist/verification/index.js';

const [issuer, audiences, jwksUri] = process.argv.slice(2);
const keys = createRemoteKeySet({ jwksUri });
const verifier = createTokenVerifier({
  issuers: [{ issuer, audiences, profile: 'rfc9068', keys }],
});
const gate = new EventTarget();
let refused = [];

process.on('message', ({ refuse, goOn }) => {
  if (refuse !== undefined) refused = refuse;
  if (goOn !== undefined) gate.dispatchEvent(new Event('go on'));
});
process.on('disconnect', () => process.exit());

async function judge(authorization = '') {
  try {
    const { claims } = await verifier.verify(authorization.replace(/^Bearer /, ''));
    return refused === 'everything' || refused.includes(claims.jti) ? 401 : 200;
  } catch (error) {
    return error.kind === 'rejected' ? 401 : 500;
  }
}

async function serve(request, response) {
  const body = (await request.toArray()).join('');
  const { method, url, headers } = request;
  process.send({ arrived: { method, url, body } });
  if (url === '/held') await once(gate, 'go on');
  const status = await judge(headers.authorization);
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ status }));
}

const server = createServer((request, response) => {
  // A client that has gone needs no answer; it sees the connection end.
  serve(request, response).catch(() => response.destroy());
});
server.listen(0, '127.0.0.1', () => process.send({ port: server.address().port }));
