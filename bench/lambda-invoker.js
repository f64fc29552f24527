// An execution environment: imports the bundle, invokes its handler, and measures. Lines of the log go nowhere.

/** The time in which at least one call to the secret store or the provider is under way, in milliseconds. */
const calls = { watched: false, underWay: 0, since: 0, total: 0 };
let handler;

async function load({ bundle, env }) {
  Object.assign(process.env, env);
  process.stdout.write = () => true;
  const start = performance.now();
  ({ handler } = await import(bundle));
  return { milliseconds: performance.now() - start };
}

/** Times the calls of the AWS SDK that the bundle finds, and of the platform's fetch. */
async function watch({ sdk }) {
  const { SecretsManagerClient } = await import(sdk);
  SecretsManagerClient.prototype.send = timed(SecretsManagerClient.prototype.send);
  globalThis.fetch = timed(globalThis.fetch);
  calls.watched = true;
  return {};
}

function timed(call) {
  return async function timedCall(...values) {
    if (calls.underWay === 0) calls.since = performance.now();
    calls.underWay += 1;
    try {
      return await call.apply(this, values);
    } finally {
      calls.underWay -= 1;
      if (calls.underWay === 0) calls.total += performance.now() - calls.since;
    }
  };
}

async function invoke({ step, secretId, versionId }) {
  const event = { Step: step, SecretId: secretId, ClientRequestToken: versionId };
  calls.total = 0;
  const start = performance.now();
  const context = {
    awsRequestId: versionId,
    getRemainingTimeInMillis: () => 60_000 - (performance.now() - start),
  };
  const before = process.cpuUsage();
  await handler(event, context);
  const { user, system } = process.cpuUsage(before);
  const whole = performance.now() - start;
  if (calls.underWay > 0) throw new Error('A call outlived its invocation.');
  if (calls.watched && calls.total === 0) throw new Error('The calls are made past the watch.');
  return { whole, own: whole - calls.total, processor: (user + system) / 1000 };
}

const ORDERS = { load, watch, invoke };

process.on('message', ({ order, ...rest }) => {
  ORDERS[order](rest).then(
    (answer) => process.send(answer),
    (error) => process.send({ error: error.stack }),
  );
});
