// The load, in a process of its own that lives as long as the bench. Started by `fork`; for each
// { url, headers, connections, seconds } that it is sent, it says what it measured.
import autocannon from 'autocannon';
import { quantile } from './statistics.js';

process.on('message', (request) => {
  measure(request).then(
    (measured) => process.send(measured),
    (error) => process.send({ error: String(error) }),
  );
});

async function measure({ url, headers, connections, seconds }) {
  // autocannon's own histogram holds whole milliseconds, which is too coarse here.
  let latencies = new Float64Array(1 << 16);
  let count = 0;
  const result = await new Promise((resolve, reject) => {
    const instance = autocannon({ url, connections, duration: seconds, headers }, (error, done) =>
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
  const failed = result.non2xx + result.errors + result.timeouts + result.mismatches;
  return {
    requests: result['2xx'],
    failed,
    perSecond: result['2xx'] / result.duration,
    p99: quantile(latencies.subarray(0, count), 0.99),
  };
}
