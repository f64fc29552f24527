// A service that uses the client: asks for its token again and again, and writes a line of JSON for each answer. The first
// argument has the options; a line on standard input, `ask` or `rest`, says whether it asks.
import { createInterface } from 'node:readline';

const { module, everyMs, ...options } = JSON.parse(process.argv[2]);
const { createServiceTokenClient } = await import(module);
const client = createServiceTokenClient(options);

let isAsking = false;
let waiting = 0;
const ask = async () => {
  waiting += 1;
  const at = Date.now();
  const say = (members) => {
    const { usable } = client.status();
    process.stdout.write(`${JSON.stringify({ at, ms: Date.now() - at, usable, ...members })}\n`);
  };
  try {
    const { accessToken, expiresAt } = await client.getToken();
    say({ status: 200, token: accessToken, expiresAt });
  } catch (error) {
    say({ status: error.code ?? error.name });
  }
  waiting -= 1;
};
setInterval(() => {
  if (isAsking && waiting < 64) void ask();
}, everyMs);
createInterface({ input: process.stdin })
  .on('line', (line) => {
    isAsking = line === 'ask';
    if (isAsking) void ask();
  })
  .on('close', () => process.exit(0));
process.stdout.write('{"ready":true}\n');
