// Peers that wait, in a process of their own. Started by `fork`; for each { url, authorization, count } it holds so many
// requests at the broker, rotates the token, and says how long the last answer took from the answer to the rotation on.
import { Agent, request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const WAIT_SECONDS = 120;
/** Opened at the same time, so that the backlog of the broker's socket is not what is measured. */
const AT_ONCE = 100;

process.on('message', (asked) => {
  measure(asked).then(
    (measured) => process.send(measured),
    (error) => process.send({ error: String(error) }),
  );
});

async function measure({ url, authorization, count }) {
  const agent = new Agent({ keepAlive: false, maxSockets: Infinity });
  const send = (path, options, onSent) =>
    new Promise((resolve, reject) => {
      const sent = request(`${url}${path}`, { agent, ...options }, (response) => {
        response.resume();
        response.on('error', reject);
        response.on('end', () =>
          resolve({
            status: response.statusCode,
            headers: response.headers,
            at: performance.now(),
          }),
        );
      });
      sent.on('error', reject);
      sent.on('socket', (socket) => socket.on('connect', () => onSent?.()));
      sent.end();
    });
  const { headers } = await send('/v1/token', { headers: { authorization } });
  const waits = [];
  for (let at = 0; at < count; at += AT_ONCE) {
    await Promise.all(
      Array.from(
        { length: Math.min(AT_ONCE, count - at) },
        () =>
          new Promise((connected) => {
            waits.push(
              send(
                '/v1/token',
                {
                  headers: {
                    authorization,
                    'if-none-match': headers.etag,
                    prefer: `wait=${WAIT_SECONDS}`,
                  },
                },
                connected,
              ),
            );
          }),
      ),
    );
  }
  const early = Promise.race(waits).then(({ status }) => {
    throw new Error(`A peer that should wait was answered by ${status} at once.`);
  });
  await Promise.race([untilHeld(url, count), early]);
  early.catch(() => undefined);
  const rotated = await send('/v1/rotate?revoke_cached=true', {
    method: 'POST',
    headers: { authorization },
  });
  if (rotated.status !== 200) throw new Error(`The rotation was answered by ${rotated.status}.`);
  const answers = await Promise.all(waits);
  const other = answers.find(
    ({ status, headers: { etag } }) => status !== 200 || etag === headers.etag,
  );
  if (other !== undefined) throw new Error(`A waiting peer was answered by ${other.status}.`);
  agent.destroy();
  return { milliseconds: Math.max(...answers.map(({ at }) => at)) - rotated.at };
}

/** Until the broker says that it holds all of them. */
async function untilHeld(url, count) {
  for (;;) {
    const text = await (await fetch(`${url}/metrics`)).text();
    const held = /^service_token_broker_waiting_requests(?:\{.*\})? (\d+)$/m.exec(text)?.[1];
    if (Number(held) >= count) return;
    await sleep(20);
  }
}
