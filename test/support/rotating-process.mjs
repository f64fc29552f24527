// A replica of the broker, as far as rotation goes: composed as every door does it, with the configuration it is
// given. Each line on its standard input starts the rotation of a slot; the end of its input ends it.
//
// Before and after every call of the store and of the provider it writes a line, and is killed at the one it was told.
import { writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { coreOf, createCore } from '../../dist/composition/core.js';
import { openStore } from '../../dist/composition/open-store.js';
import { createOAuthProvider } from '../../dist/provider/oauth-provider.js';
import { slotKey } from '../../dist/rotation/claim.js';
import { systemClock } from '../../dist/tokens/time.js';

const { config, clockAhead, killAt } = JSON.parse(process.argv[2]);
let points = 0;

const tell = (what) => writeSync(1, `${JSON.stringify(what)}\n`);

function pass(point) {
  points += 1;
  tell({ point });
  // The signal arrives before the call returns: nothing after this line runs, no handler, no finally.
  if (points === killAt) process.kill(process.pid, 'SIGKILL');
}

/** The same object, with a point before and after each call of a method. */
function watched(name, target) {
  return new Proxy(target, {
    get(_, property) {
      const value = Reflect.get(target, property);
      if (typeof value !== 'function') return value;
      if (property === 'close') return value.bind(target);
      return async (...args) => {
        const call = `${name}.${String(property)}`;
        pass(`before ${call}`);
        try {
          return await value.apply(target, args);
        } finally {
          pass(`after ${call}`);
        }
      };
    },
  });
}

const clock = { ...systemClock, now: () => Date.now() + clockAhead };
const core = await createCore(config, {
  clock,
  store: watched('store', await openStore(config, clock)),
  provider: watched('provider', createOAuthProvider({ clock })),
});
tell({ ready: true });

for await (const line of createInterface({ input: process.stdin })) {
  const slotStart = Number(line);
  try {
    tell(
      await coreOf(core).rotator.rotate({
        trigger: 'schedule',
        key: slotKey(slotStart),
        slotStart,
      }),
    );
  } catch (error) {
    tell({ failed: error.code ?? 'UNEXPECTED', message: error.message });
  }
}
await core.close();
