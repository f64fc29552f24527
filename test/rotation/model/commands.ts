import { ROTATION_STEPS } from '../../../src/rotation/rotation.js';
import { fc } from '../../support/properties.js';
import { HOUR, MINUTE, PROVIDER_STATES } from './provider.js';
import type { Request, Scene } from './scene.js';
import { FATES, settled, type Fate, type Machine } from './world.js';

/** What may happen in a run, besides checks, answers and a little time: nothing; faults; acts of people; all of it. */
export const MOODS = ['calm', 'faults', 'people', 'all'] as const;
export type Mood = (typeof MOODS)[number];

/** What the commands have to know before they run. */
export interface Plan {
  readonly mood: Mood;
  readonly isManager: boolean;
  readonly isManaged: boolean;
}

type Kind = 'always' | 'fault' | 'person' | 'manager';

/** One thing that happens. After each, every invariant has to hold. */
class Act implements fc.AsyncCommand<Plan, Scene> {
  constructor(
    private readonly kind: Kind,
    private readonly name: string,
    private readonly act: (scene: Scene) => Promise<unknown> | void,
  ) {}

  check({ mood, isManager, isManaged }: Plan): boolean {
    if (this.kind === 'manager') return isManager && (isManaged || mood === 'all');
    if (this.kind === 'fault') return mood === 'faults' || mood === 'all';
    return this.kind === 'always' || mood === 'people' || mood === 'all';
  }

  async run(_plan: Plan, scene: Scene): Promise<void> {
    scene.world.tick += 1;
    if (this.kind === 'fault' || this.kind === 'person') scene.world.disturbances += 1;
    await this.act(scene);
    await settled();
    const [broken] = scene.world.violations;
    if (broken !== undefined) throw new Error(`${broken} (after ${this.name})`);
  }

  toString(): string {
    return this.name;
  }
}

const BROKER = fc.nat({ max: 2 });
const FUNCTION = fc.nat({ max: 1 });
const ANYONE = fc.nat({ max: 4 });

function machineOf(scene: Scene, index: number): Machine {
  const machine = scene.machines[index % scene.machines.length];
  if (machine === undefined) throw new Error('No machine has that number.');
  return machine;
}

function brokerOf(scene: Scene, index: number): Machine {
  return machineOf(scene, index % scene.brokers.length);
}

function functionOf(scene: Scene, index: number): Machine {
  return machineOf(scene, scene.brokers.length + (index % scene.functions.length));
}

const check = BROKER.map((who) => {
  return new Act('always', `check(${who})`, (scene) => scene.check(brokerOf(scene, who)));
});

const serve = fc.tuple(BROKER, fc.boolean()).map(([who, force]) => {
  return new Act('always', `serve(${who}${force ? ', forced' : ''})`, (scene) =>
    scene.serve(brokerOf(scene, who), force),
  );
});

/** Some answers, to whom and in which order the numbers say. */
const interleave = fc.array(ANYONE, { minLength: 2, maxLength: 24 }).map((order) => {
  return new Act('always', `interleave(${order.join('')})`, async (scene) => {
    for (const who of order) await scene.world.proceed(machineOf(scene, who), 'answered', who);
  });
});

const go = fc.tuple(ANYONE, fc.integer({ min: 1, max: 16 })).map(([who, count]) => {
  return new Act('always', `go(${who}, ${count})`, async (scene) => {
    for (let step = 0; step < count; step += 1) {
      if (!(await scene.world.proceed(machineOf(scene, who)))) break;
    }
  });
});

const finish = ANYONE.map((who) => {
  return new Act('always', `finish(${who})`, (scene) => scene.finish(machineOf(scene, who)));
});

const wait = fc.constantFrom(1_000, 5_000).map((milliseconds) => {
  return new Act('always', `wait(${milliseconds})`, (scene) =>
    scene.world.passUntil(scene.world.now + milliseconds),
  );
});

/** Some answers, and then a call that ends otherwise. */
const fail = fc
  .tuple(
    ANYONE,
    fc.nat({ max: 12 }),
    fc.constantFrom(...FATES.filter((fate) => fate !== 'answered')),
    fc.nat({ max: 2 }),
    fc.integer({ min: 1, max: 8 }),
  )
  .map(([who, count, fate, which, age]: [number, number, Fate, number, number]) => {
    const name = `fail(${who} after ${count}: ${fate}${fate === 'stale' ? ` by ${age}` : ''})`;
    return new Act('fault', name, async (scene) => {
      const machine = machineOf(scene, who);
      for (let step = 0; step < count; step += 1) {
        if (machine.isRunning && machine.life.waiting.length === 0) break;
        if (!(await scene.world.proceed(machine))) break;
      }
      await scene.world.proceed(machine, fate, which, age);
    });
  });

const crash = ANYONE.map((who) => {
  return new Act('fault', `crash(${who})`, (scene) => machineOf(scene, who).crash());
});

const sleepLong = fc
  .constantFrom(46_000, 6 * MINUTE, 20 * MINUTE, 2 * HOUR, 6 * HOUR, 26 * HOUR)
  .map((milliseconds) => {
    return new Act('fault', `pass(${milliseconds / 1000} s)`, (scene) =>
      scene.world.passUntil(scene.world.now + milliseconds),
    );
  });

const setClock = fc
  .tuple(BROKER, fc.constantFrom(-72, -6, -1, -0.02, 0.02, 1, 6, 72))
  .map(([who, hours]) => {
    return new Act('fault', `clock(${who}, ${hours} h)`, (scene) => {
      brokerOf(scene, who).offset += hours * HOUR;
    });
  });

const provider = fc.constantFrom(...PROVIDER_STATES).map((state) => {
  return new Act('fault', `provider(${state})`, (scene) => {
    scene.provider.state = state;
  });
});

const keys = fc.constantFrom('added', 'withdrawn', 'down', 'up').map((what) => {
  return new Act('fault', `keys(${what})`, (scene) => {
    if (what === 'down' || what === 'up') scene.provider.areKeysDown = what === 'down';
    else scene.provider.changeKey(what === 'withdrawn');
  });
});

const ask = fc
  .tuple(BROKER, fc.constantFrom<Request>('plain', 'force', 'revoke'))
  .map(([who, request]) => {
    return new Act('person', `ask(${who}, ${request})`, (scene) =>
      scene.ask(brokerOf(scene, who), request),
    );
  });

/** Several ask at once, and are answered in any order. */
const rush = fc
  .tuple(
    fc.array(fc.constantFrom<Request>('plain', 'force', 'revoke'), { minLength: 2, maxLength: 3 }),
    fc.array(BROKER, { minLength: 10, maxLength: 60 }),
  )
  .map(([requests, order]) => {
    return new Act('person', `rush(${requests.join(', ')}; ${order.join('')})`, async (scene) => {
      for (const [who, request] of requests.entries()) scene.ask(brokerOf(scene, who), request);
      await settled();
      for (const who of order) await scene.world.proceed(brokerOf(scene, who));
    });
  });

const revoke = BROKER.map((who) => {
  return new Act('person', `revoke(${who})`, async (scene) => {
    scene.ask(brokerOf(scene, who), 'revoke');
    await scene.finish(brokerOf(scene, who));
    scene.serve(brokerOf(scene, who), true);
    await scene.finish(brokerOf(scene, who));
  });
});

/** A peer is answered while the store's reads lag behind. */
const serveLate = fc.tuple(BROKER, fc.integer({ min: 1, max: 8 })).map(([who, age]) => {
  return new Act('fault', `serveLate(${who} by ${age})`, async (scene) => {
    await scene.world.passUntil(scene.world.now + 1_000);
    scene.serve(brokerOf(scene, who), true);
    await settled();
    const last = brokerOf(scene, who).life.waiting.length - 1;
    await scene.world.proceed(brokerOf(scene, who), 'stale', Math.max(0, last), age);
  });
});

const repair = fc.tuple(BROKER, fc.boolean()).map(([who, force]) => {
  return new Act('person', `repair(${who}${force ? ', forced' : ''})`, (scene) =>
    scene.repair(brokerOf(scene, who), force),
  );
});

const stop = BROKER.map((who) => {
  return new Act('person', `stop(${who})`, (scene) => scene.stop(brokerOf(scene, who)));
});

const put = fc
  .constantFrom(
    ['token', 'AWSCURRENT'] as const,
    ['refused', 'AWSPENDING'] as const,
    ['token', 'AWSPENDING'] as const,
    ['garbage', 'AWSPENDING'] as const,
  )
  .map(([what, label]) => {
    return new Act('person', `put(${what} as ${label})`, (scene) => scene.putByHand(what, label));
  });

const move = fc.constantFrom('rollBack', 'clearPending').map((how) => {
  return new Act('person', how, (scene) => scene[how]());
});

/** DeleteSecret and RestoreSecret. */
const remove = fc.boolean().map((isDeleted) => {
  return new Act('person', isDeleted ? 'delete' : 'restore', (scene) => {
    scene.ledger.isDeleted = isDeleted;
  });
});

const rotateSecret = fc.constant(
  new Act('manager', 'RotateSecret', (scene) => scene.rotateSecret()),
);

/** A step of Secrets Manager's rotation: the next one, the one before again, or any. */
const deliver = fc
  .tuple(FUNCTION, fc.constantFrom('next', 'next', 'next', 'again', ...ROTATION_STEPS))
  .map(([who, which]) => {
    return new Act('manager', `deliver(${which} to ${who + 3})`, (scene) => {
      const { managed } = scene;
      if (managed === undefined) return;
      const byPlace = ROTATION_STEPS[which === 'next' ? managed.next : managed.next - 1];
      const step = which === 'next' || which === 'again' ? byPlace : which;
      if (step === undefined) return;
      if (which === 'next') managed.next += 1;
      scene.deliver(functionOf(scene, who), managed.versionId, step);
    });
  });

/** All of a rotation by Secrets Manager. */
const runManaged = fc.constant(
  new Act('manager', 'runManaged', async (scene) => {
    await scene.rotateSecret();
    await scene.runManaged();
  }),
);

const switchMode = fc
  .constantFrom('rotation on', 'rotation off', 'replica', 'primary')
  .map((how) => {
    return new Act('person', how, async (scene) => {
      if (how.startsWith('rotation')) await scene.setRotation(how === 'rotation on');
      else await scene.setReplica(how === 'replica');
    });
  });

/** What a run is made of; what stands more than once happens more often. */
export function commandsOf(most: number, replayPath?: string) {
  return fc.commands<Plan, Scene, false>(
    [
      check,
      check,
      serve,
      interleave,
      interleave,
      go,
      go,
      finish,
      wait,
      fail,
      fail,
      crash,
      sleepLong,
      setClock,
      provider,
      keys,
      ask,
      rush,
      revoke,
      serveLate,
      repair,
      stop,
      put,
      move,
      remove,
      switchMode,
      rotateSecret,
      deliver,
      deliver,
      runManaged,
    ],
    { maxCommands: most, size: 'max', ...(replayPath !== undefined && { replayPath }) },
  );
}
