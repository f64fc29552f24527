// The load, in a process of its own that lives as long as the bench. Started by `fork`; for each
// { url, method, headers, body, connections, seconds } that it is sent, it says what it measured. `busy` is the share of a core
// that the load itself used: near 1 it is the load that holds the server back.
import autocannon from 'autocannon';
import { quantiles } from './statistics.js';

process.on('message', (request) => {
  measure(request).then(
    (measured) => process.send(measured),
    (error) => process.send({ error: String(error) }),
  );
});

async function measure({ connections, seconds: duration, ...request }) {
  // autocannon's own histogram holds whole milliseconds, which is too coarse here.
  let latencies = new Float64Array(1 << 16);
  let count = 0;
  const before = process.cpuUsage();
  const start = process.hrtime.bigint();
  const result = await new Promise((resolve, reject) => {
    const instance = autocannon({ ...request, connections, duration }, (error, done) =>
      error ? reject(error) : resolve(done),
    );
    instance.on('response', (client, status, bytes, milliseconds) => {
      if (count === latencies.length) {
        const longer = new Float64Array(count * 2);
        longer.set(latencies);
        latencies = longer;
      }
      latencies[count] = milliseconds;
      count += 1;
    });
  });
  const { user, system } = process.cpuUsage(before);
  const busy = (user + system) / (Number(process.hrtime.bigint() - start) / 1000);
  const failed = result.non2xx + result.errors + result.timeouts + result.mismatches;
  return {
    requests: result['2xx'],
    failed,
    perSecond: result['2xx'] / result.duration,
    ...quantiles(latencies.subarray(0, count)),
    busy,
  };
}
