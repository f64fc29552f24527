// Loaded into a process by `--import`, so that it runs on a machine whose clock is wrong (FAULTS_CLOCK_AHEAD milliseconds
// ahead), or whose resolver fails: names under faults.test are this machine, unless the file FAULTS_DNS_FILE exists.
import dns from 'node:dns';
import { existsSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const ahead = Number(process.env.FAULTS_CLOCK_AHEAD ?? 0);
if (ahead !== 0) {
  const now = Date.now;
  const shifted = () => now() + ahead;
  globalThis.Date = new Proxy(Date, {
    construct: (target, args, newTarget) =>
      Reflect.construct(target, args.length === 0 ? [shifted()] : args, newTarget),
    apply: () => new globalThis.Date().toString(),
    get: (target, name) => (name === 'now' ? shifted : Reflect.get(target, name)),
  });
}

const broken = process.env.FAULTS_DNS_FILE;
if (broken !== undefined) {
  const { lookup } = dns;
  dns.lookup = (hostname, options, callback) => {
    if (!hostname.endsWith('.faults.test')) return lookup(hostname, options, callback);
    const done = typeof options === 'function' ? options : callback;
    if (existsSync(broken)) {
      const error = new Error(`getaddrinfo ENOTFOUND ${hostname}`);
      Object.assign(error, { code: 'ENOTFOUND', errno: -3008, syscall: 'getaddrinfo', hostname });
      process.nextTick(done, error);
    } else if (options?.all === true) {
      process.nextTick(done, null, [{ address: '127.0.0.1', family: 4 }]);
    } else {
      process.nextTick(done, null, '127.0.0.1', 4);
    }
    return {};
  };
  syncBuiltinESMExports();
}
