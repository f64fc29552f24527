import { Agent, get } from 'node:http';

/** Node writes these by itself, for the bare server as for the broker. */
const BY_NODE = new Set(['date', 'connection', 'keep-alive']);

/** One `GET /v1/token`: status, headers as names and values in turn, body. */
export async function fetchAnswer(url, authorization, more = {}) {
  // As the load has it: a connection that stays, so that Node's own headers are the same.
  const agent = new Agent({ keepAlive: true });
  try {
    return await new Promise((resolve, reject) => {
      get(url, { agent, headers: { authorization, ...more } }, (response) => {
        const chunks = [];
        response.on('data', (chunk) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const { statusCode: status, rawHeaders } = response;
          resolve({ status, headers: rawHeaders, body: Buffer.concat(chunks).toString() });
        });
      }).on('error', reject);
    });
  } finally {
    agent.destroy();
  }
}

/** What the bare server has to be told to send the same. */
export function withoutNodesOwn({ status, headers, body }) {
  const pairs = pairsOf(headers);
  const [, keepAlive = ''] = pairs.find(([name]) => name.toLowerCase() === 'keep-alive') ?? [];
  const keepAliveSeconds = Number(/timeout=(\d+)/.exec(keepAlive)?.[1] ?? 5);
  const own = pairs.filter(([name]) => !BY_NODE.has(name.toLowerCase()));
  return { status, headers: own.flat(), body, keepAliveSeconds };
}

/** Throws unless both answers have the same status, the same headers, each of the same length, and an equally long body. */
export function requireSameShape(one, other) {
  const [first, second] = [one, other].map(({ status, headers, body }) =>
    JSON.stringify({
      status,
      // Values such as the time differ from one answer to the next; their lengths do not.
      headers: pairsOf(headers)
        .map(([name, value]) => `${name} ${isCounter(name) ? 'number' : value.length}`)
        .sort(),
      body: body.length,
    }),
  );
  if (first !== second) {
    throw new Error(`The two servers do not answer alike:\n  ${first}\n  ${second}`);
  }
}

/** `Age` grows by a digit after ten seconds. */
function isCounter(name) {
  return name.toLowerCase() === 'age';
}

function pairsOf(headers) {
  return headers.flatMap((name, index) => (index % 2 === 0 ? [[name, headers[index + 1]]] : []));
}
