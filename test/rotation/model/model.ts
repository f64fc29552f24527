import { repairPending } from '../../../src/rotation/repair.js';
import { RotationError } from '../../../src/rotation/rotation.js';
import { fc } from '../../support/properties.js';
import { commandsOf, MOODS, type Plan } from './commands.js';
import { MINUTE } from './provider.js';
import { Scene, type SceneOptions, type Setup } from './scene.js';

/** How many checks of one healthy broker bring a fresh token, after whatever has happened. */
const MOST_CHECKS = 100;
/** Time between two of these checks, in milliseconds: at first, and then. */
const PACE = { quick: 10_000, checks: 20, slow: MINUTE };

/** Which runs of the model there are, and which of them is repeated. */
export interface ModelOptions extends SceneOptions {
  readonly runs: number;
  readonly seed: number;
  /** The place of one run, as a failure names it. */
  readonly path?: string | undefined;
  readonly replayPath?: string | undefined;
  /** The most that happens in one run. Default: 40. */
  readonly commands?: number;
  /** After so many seconds no further run begins. Default: all of them run. */
  readonly seconds?: number | undefined;
  /** Whether a failure is reduced to what it needs. Default: true. */
  readonly shrinks?: boolean;
}

/** What the runs have shown. */
export interface ModelReport {
  readonly runs: number;
  /** What is wrong, and how to see it again; `undefined` when every invariant held in every run. */
  readonly failure: string | undefined;
  /** The checks that the slowest recovery took. */
  readonly mostChecks: number;
}

const OFFSETS = fc.oneof(
  fc.constant([0, 0, 0, 0]),
  fc.array(fc.constantFrom(0, 30_000, -30_000, 5 * MINUTE, -5 * MINUTE), {
    minLength: 4,
    maxLength: 4,
  }),
);

const TRAITS = fc.record({
  firstVersionBecomesCurrent: fc.boolean(),
  pendingStaysAfterPromote: fc.boolean(),
});

/** Runs the model. Every run starts with a store of its own, and ends with the recovery from whatever has happened. */
export async function runModel(options: ModelOptions): Promise<ModelReport> {
  const { kind, runs, seed, path, replayPath, seconds, commands = 40, shrinks = true } = options;
  let mostChecks = 0;
  const property = fc.asyncProperty(
    fc.constantFrom(...MOODS),
    fc.record({ isEmpty: fc.boolean(), isManaged: fc.boolean(), offsets: OFFSETS, traits: TRAITS }),
    commandsOf(commands, replayPath),
    fc.nat({ max: 2 }),
    async (mood, wanted, acts, healthy) => {
      const isManaged = wanted.isManaged && kind.isManager;
      const setup: Setup = {
        ...wanted,
        isManaged,
        offsets: mood === 'calm' || mood === 'people' ? [] : wanted.offsets,
      };
      const plan: Plan = { mood, isManager: kind.isManager, isManaged };
      const scene = await Scene.open(setup, options);
      await fc.asyncModelRun(() => ({ model: plan, real: scene }), acts);
      mostChecks = Math.max(mostChecks, await recover(scene, healthy));
    },
  );
  const details = await fc.check(property, {
    numRuns: runs,
    seed,
    endOnFailure: !shrinks,
    ...(seconds !== undefined && { interruptAfterTimeLimit: seconds * 1000 }),
    ...(path !== undefined && { path }),
  });
  return { runs: details.numRuns, failure: failureOf(details, kind.name, commands), mostChecks };
}

/**
 * After the last fault: one broker is left, its clock is right, and provider, keys and store work. Its checks have to bring a
 * token that is fresh, and no broker mints another then.
 *
 * @returns how many checks that took.
 */
async function recover(scene: Scene, healthy: number): Promise<number> {
  const { world, provider, ledger, brokers } = scene;
  const broker = brokers[healthy % brokers.length];
  if (broker === undefined) throw new Error('No broker has that number.');
  provider.heal();
  ledger.isDeleted = false;
  for (const machine of scene.machines) {
    if (machine !== broker) {
      // A crash like any other: it may have minted.
      if (machine.isRunning) world.disturbances += 1;
      machine.crash();
    }
    machine.offset = 0;
  }
  await scene.setReplica(false);
  let checks = 1;
  for (; checks <= MOST_CHECKS; checks += 1) {
    scene.check(broker);
    await scene.finish(broker);
    if (scene.isManaged) {
      await scene.runManaged(0);
      await repairByHand(scene);
    }
    require(scene);
    if (scene.isFresh()) break;
    await world.passUntil(world.now + (checks < PACE.checks ? PACE.quick : PACE.slow));
  }
  if (checks > MOST_CHECKS) world.violate(`the token was not fresh after ${MOST_CHECKS} checks`);
  const { mints } = provider;
  for (const machine of brokers) {
    scene.check(machine);
    await scene.finish(machine);
    // A read that failed is tried again within 15 s, and one that is forced a second after the last.
    for (const wait of [15_000, 1_000]) {
      await world.passUntil(world.now + wait);
      scene.serve(machine, true);
      await scene.finish(machine);
      if (scene.served === ledger.now.current) break;
    }
    if (scene.served !== ledger.now.current) world.violate('what is current was not served');
  }
  if (provider.mints > mints) world.violate('a fresh token was replaced');
  require(scene);
  return checks;
}

/** `rotate --repair`, which Secrets Manager needs after a rotation that failed. */
async function repairByHand({ ledger, world }: Scene): Promise<void> {
  const { store, secretId } = ledger.of;
  const clock = { now: () => world.now, sleep: () => Promise.resolve() };
  try {
    await ledger.byHand(async () => {
      await repairPending({ store, tokenSecretId: secretId, clock });
    });
  } catch (error) {
    if (!(error instanceof RotationError)) throw error;
  }
}

function require({ world }: Scene): void {
  const [broken] = world.violations;
  if (broken !== undefined) throw new Error(`${broken} (in the recovery)`);
}

/** What is wrong in words, and the command that repeats it. */
function failureOf<T>(
  details: fc.RunDetails<T>,
  store: string,
  commands: number,
): string | undefined {
  if (!details.failed) return undefined;
  const { seed, counterexamplePath, counterexample, errorInstance } = details;
  const shown = fc.stringify(counterexample);
  const replay = /replayPath="([^"]*)"/.exec(shown)?.[1] ?? '';
  return [
    errorInstance instanceof Error ? (errorInstance.stack ?? errorInstance.message) : 'failed',
    shown,
    `Again: MODEL_STORE=${store} MODEL_SEED=${seed} MODEL_COMMANDS=${commands} MODEL_PATH=${counterexamplePath} MODEL_REPLAY=${replay} npm run models`,
  ].join('\n');
}
