// Runs one operation on an embedded store, and kills its own process before the n-th thing that it writes; with 0, never.
// Says how many there were, and what came of it.
import fs from 'node:fs/promises';
import { writeSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import Libsql from 'libsql';

const [operation, options, victim] = process.argv.slice(2);
let writes = 0;

function point() {
  writes += 1;
  if (writes === Number(victim)) process.kill(process.pid, 'SIGKILL');
}

for (const name of ['rename', 'link', 'unlink', 'open']) {
  const real = fs[name];
  fs[name] = (...args) => {
    point();
    return real(...args);
  };
}
syncBuiltinESMExports();

const own = await fs.open(process.argv[1]);
const handle = Object.getPrototypeOf(own);
await own.close();
const { writeFile, sync } = handle;
handle.writeFile = async function write(text) {
  point();
  // Half of it is there when the process is killed now.
  const bytes = Buffer.from(text);
  await writeFile.call(this, bytes.subarray(0, bytes.length / 2));
  point();
  return writeFile.call(this, bytes.subarray(bytes.length / 2));
};
handle.sync = function flush() {
  point();
  return sync.call(this);
};

const statement = Object.getPrototypeOf(new Libsql(':memory:').prepare('SELECT 1'));
for (const [prototype, name] of [
  [Libsql.prototype, 'exec'],
  [statement, 'run'],
]) {
  const real = prototype[name];
  prototype[name] = function run(...args) {
    point();
    return real.apply(this, args);
  };
}

writes = 0;
const load = (name) => import(`../../dist/secrets/embedded/${name}.js`);
const operations = {
  rekey: async (given) => (await load('rekey')).rekeyStore(given),
  backup: async (given) => (await load('store-backup')).backupStore(given),
  restore: async (given) => (await load('store-restore')).restoreStore(given),
};
let outcome;
try {
  const { masterKeys, backupKeys, ...given } = JSON.parse(options);
  const decoded = (keys) => keys.map((key) => Buffer.from(key, 'base64'));
  const report = await operations[operation]({
    ...given,
    ...(masterKeys && { masterKeys: decoded(masterKeys) }),
    ...(backupKeys && { backupKeys: decoded(backupKeys) }),
  });
  const { envelope: _envelope, identity: _identity, ...shown } = report;
  outcome = { ok: true, report: shown };
} catch (error) {
  outcome = { ok: false, code: error.code, message: error.message };
}
writeSync(1, JSON.stringify({ ...outcome, writes }));
