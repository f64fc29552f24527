import { runRotationStep } from '../../../src/lambda/rotation-function.js';
import {
  claimIdOf,
  CLAIM_LEASE,
  MOST_CLAIMS,
  slotKey,
  versionIdOf,
} from '../../../src/rotation/claim.js';
import type { Slots } from '../../../src/rotation/coverage.js';
import { repairPending } from '../../../src/rotation/repair.js';
import { RotationSchedule } from '../../../src/rotation/rotation-schedule.js';
import {
  pendingLeftover,
  ROTATION_STEPS,
  type RotationStep,
} from '../../../src/rotation/rotation.js';
import { Rotator, type RotatorOptions } from '../../../src/rotation/rotator.js';
import { TokenSource } from '../../../src/rotation/token-source.js';
import { TokenWatch } from '../../../src/rotation/token-watch.js';
import { createTokenCache, type TokenCache } from '../../../src/serving/token-cache.js';
import { expiredReadAt } from '../../../src/tokens/refreshing-cache.js';
import {
  parseRotationClaim,
  serializeServiceToken,
  type ServiceToken,
} from '../../../src/tokens/service-token.js';
import type { SecretStore } from '../../../src/secrets/secret-store.js';
import { Ledger, type LedgerObserver, type StoreFault } from './ledger.js';
import {
  AUDIENCE,
  HOUR,
  ISSUER,
  keysDown,
  LIFETIME,
  MINUTE,
  ModelProvider,
  reach,
  type Signatures,
} from './provider.js';
import { putCurrent, type StoreKind, type StoreTraits } from './stores.js';
import { Machine, settled, START, World, type Life } from './world.js';

/** Time between two slots. */
export const PERIOD = 6 * HOUR;
/** Life that a token must have left. */
export const MINIMUM_LIFE = HOUR;
/** Time after a rotation in which a request brings no other. */
const MANUAL_INTERVAL = MINUTE;
const CONFIGURED = {
  issuer: ISSUER,
  audience: AUDIENCE,
  tokenEndpoint: `${ISSUER}/token`,
  jwksUri: `${ISSUER}/jwks`,
  clientId: 'broker',
  // The whole of the client credentials, so that no other secret is read.
  clientAuthentication: 'workload_token',
  workloadTokenFile: '/nowhere',
} as const;
const BROKERS = 3;
const FUNCTIONS = 2;

/** How a run begins. */
export interface Setup {
  /** Whether the token secret has no value yet. */
  readonly isEmpty: boolean;
  /** Whether Secrets Manager rotates, where the store is Secrets Manager. */
  readonly isManaged: boolean;
  /** How far the clocks of the brokers, and of the store, are ahead at the start, in milliseconds. */
  readonly offsets: readonly number[];
  readonly traits: StoreTraits;
}

type CacheOptions = Parameters<typeof createTokenCache>[0];

/** A rotator that is broken on purpose, which the model has to notice. */
export interface Breakage {
  /** The store as processes reach it. */
  readonly store?: StoreFault;
  /** The store itself, for everybody. */
  readonly whole?: (store: SecretStore) => SecretStore;
  readonly rotator?: (options: RotatorOptions) => RotatorOptions;
  readonly schedule?: (
    schedule: RotationSchedule,
    rotator: Rotator,
  ) => Pick<RotationSchedule, 'check' | 'stop'>;
  /** What is served from. @param make makes a cache with other options. */
  readonly cache?: (
    make: (options: Partial<CacheOptions>) => TokenCache,
    store: SecretStore,
  ) => Pick<TokenCache, 'get'>;
}

/** What the runs have in common. */
export interface SceneOptions {
  readonly kind: StoreKind;
  readonly signatures: Signatures;
  readonly breakage?: Breakage | undefined;
}

interface Parts {
  readonly rotator: Rotator;
  /** What peers are answered from. */
  readonly served: Pick<TokenCache, 'get'>;
  readonly watch: TokenWatch;
  readonly schedule: Pick<RotationSchedule, 'check' | 'stop'>;
}

interface ClaimMade {
  readonly life: Life;
  readonly at: number;
  isReleased: boolean;
  /** Whether a claim for another version took the label: once that one is released, this one looks released as well. */
  isOvertaken: boolean;
}

/** What looks released is taken over after so many milliseconds: at worst one token too many is minted. */
const AFTER_RELEASE = 5_000;

/** How a slot was minted for. */
interface SlotCount {
  mints: number;
  /** The disturbances before it was first looked at. */
  readonly disturbances: number;
  attempts: number;
}

/** Who asks to rotate: without more, by force, or to withdraw the current token. */
export type Request = 'plain' | 'force' | 'revoke';

/** A company's brokers, its rotation function, its provider and its store, in one run of the model. */
export class Scene implements LedgerObserver {
  readonly provider: ModelProvider;
  readonly brokers: readonly Machine[];
  readonly functions: readonly Machine[];
  ledger!: Ledger;
  /** The rotation that Secrets Manager is about. */
  managed: { readonly versionId: string; next: number } | undefined;
  /** The version that was served last. */
  served: string | undefined;
  readonly #parts = new WeakMap<Life, Parts>();
  readonly #slots = new Map<number, SlotCount>();
  readonly #slotOf = new Map<string, number>();
  readonly #claims = new Map<string, (ClaimMade | undefined)[]>();
  readonly #claimOf = new Map<string, { readonly versionId: string; readonly turn: number }>();
  /** How many of a version's claims {@link #claimOf} has. */
  readonly #knownClaims = new Map<string, number>();
  readonly #slotVersions = new Map<string, string>();
  #byHand = 0;

  private constructor(
    readonly world: World,
    private readonly options: SceneOptions,
  ) {
    this.provider = new ModelProvider(world, options.signatures);
    const machines = (name: string, count: number): Machine[] =>
      Array.from({ length: count }, (_, index) => new Machine(`${name} ${index + 1}`, world));
    this.brokers = machines('broker', BROKERS);
    this.functions = machines('function', FUNCTIONS);
  }

  static async open(setup: Setup, options: SceneOptions): Promise<Scene> {
    const world = new World();
    const scene = new Scene(world, options);
    const [storeAhead = 0] = setup.offsets.slice(BROKERS);
    world.noteOffset(storeAhead);
    const clock = {
      now: () => world.now + storeAhead,
      sleep: () => Promise.resolve(),
    };
    const { kind, breakage } = options;
    const opened = await kind.open(setup.traits, clock);
    const store = breakage?.whole?.(opened.store) ?? opened.store;
    scene.ledger = await Ledger.open({ ...opened, store }, world, scene, breakage?.store);
    for (const [index, machine] of scene.brokers.entries()) {
      machine.offset = setup.offsets[index] ?? 0;
    }
    if (!setup.isEmpty) await scene.putByHand('token');
    if (setup.isManaged) await scene.setRotation(true);
    return scene;
  }

  get machines(): readonly Machine[] {
    return [...this.brokers, ...this.functions];
  }

  get isManaged(): boolean {
    return this.ledger.now.description.rotationEnabled;
  }

  // What processes do.

  /** What a broker does every second. */
  check(broker: Machine): void {
    const { life } = broker;
    const { schedule, watch } = this.#partsOf(life);
    life.begin('check', () => schedule.check());
    life.begin('check', () => watch.check().then(() => schedule.check()));
  }

  ask(broker: Machine, request: Request): void {
    const { life } = broker;
    const { rotator } = this.#partsOf(life);
    this.world.disturbances += 1;
    const first = this.ledger.states.length - 1;
    life.begin('ask', async () => {
      const rotated = await rotator.rotate({
        trigger: 'http',
        ...(request !== 'plain' && { [request]: true }),
      });
      if (request === 'revoke' && rotated.result === 'rotated') {
        this.#judgeRevocation(rotated.versionId, first);
      }
    });
  }

  repair(broker: Machine, force: boolean): void {
    this.world.disturbances += 1;
    const { life } = broker;
    const { of } = this.ledger;
    const store = this.ledger.storeOf(life);
    life.begin('repair', () =>
      repairPending({ store, tokenSecretId: of.secretId, clock: life, force }),
    );
  }

  serve(broker: Machine, force = false): void {
    const { life } = broker;
    const { served } = this.#partsOf(life);
    life.begin('serve', async () => {
      const { token, versionId } = (await served.get({ force })).value;
      this.served = versionId;
      this.#judgeServed(life, token, versionId);
    });
  }

  /** Ends a process as a shutdown does. */
  stop(broker: Machine): void {
    const { life } = broker;
    const { rotator, schedule, watch } = this.#partsOf(life);
    life.begin('stop', async () => {
      schedule.stop();
      watch.stop();
      await rotator.stop();
      if (!life.isOver) broker.crash();
    });
  }

  /** Secrets Manager calls a step. A function takes one call at a time. */
  deliver(machine: Machine, versionId: string, step: RotationStep): void {
    const { life } = machine;
    if (life.tasks.size > 0 || this.ledger.now.description.readOnlyReplica) return;
    if (step === 'createSecret') this.world.disturbances += 1;
    const { rotator } = this.#partsOf(life);
    const token = { name: 'default' };
    life.begin(step, () =>
      runRotationStep(
        { token, rotator },
        { step, versionId, secretId: this.ledger.of.secretId, rotationToken: undefined },
        () => undefined,
      ),
    );
  }

  /** Answers all that a process asks, until it has ended what it was told to do. */
  async finish(machine: Machine, most = 2_000): Promise<void> {
    await settled();
    for (let count = 0; count < most; count += 1) {
      if (!machine.isRunning || machine.life.tasks.size === 0) return;
      if (await this.world.proceed(machine)) continue;
      this.world.violate(`${machine.name} waits for nothing, and goes on for ever`);
      return;
    }
    this.world.violate(`${machine.name} does not come to an end`);
  }

  // What people and Secrets Manager do.

  /** A person writes a version. @param what a token of the provider's, one that receivers refuse, or no token at all. */
  async putByHand(
    what: 'token' | 'refused' | 'garbage',
    label: 'AWSCURRENT' | 'AWSPENDING' = 'AWSCURRENT',
  ): Promise<void> {
    const { of } = this.ledger;
    const versionId = this.newId('person');
    const { now } = this.world;
    let value = '{"note":"to be filled in"}';
    if (what !== 'garbage') {
      const { accessToken, expiresInSeconds = 0 } = await this.provider.issue(
        undefined,
        what === 'token',
      );
      value = serializeServiceToken({
        accessToken,
        tokenType: 'Bearer',
        generatedAt: now,
        expiresAt: now + expiresInSeconds * 1000,
        issuer: ISSUER,
        audience: [AUDIENCE],
      });
    }
    await this.ledger.byHand(
      () =>
        label === 'AWSPENDING'
          ? of.store.putPending(of.secretId, versionId, value)
          : putCurrent(of, versionId, value),
      versionId,
    );
  }

  /** UpdateSecretVersionStage: a person moves AWSCURRENT back to a version that was not withdrawn. */
  async rollBack(): Promise<void> {
    const { of, now } = this.ledger;
    const previous = [...now.description.labels].find(([, all]) => all.includes('AWSPREVIOUS'));
    if (previous === undefined || this.ledger.tokenOf(previous[0]) === undefined) return;
    // Brokers that know of the withdrawal would not serve it.
    const isWithdrawn = this.ledger.states.some(
      ({ current }) => this.ledger.tokenOf(current)?.withdrawn?.includes(previous[0]) === true,
    );
    if (isWithdrawn) return;
    await this.ledger.byHand(() => of.store.promote(of.secretId, previous[0], now.current));
  }

  /** UpdateSecretVersionStage: a person takes AWSPENDING off whatever has it. */
  async clearPending(): Promise<void> {
    const { of, now } = this.ledger;
    const pending = pendingLeftover(now.description);
    if (pending === undefined) return;
    await this.ledger.byHand(() => of.store.clearPending(of.secretId, pending));
  }

  async setRotation(isEnabled: boolean): Promise<void> {
    const { manager } = this.ledger.of;
    await this.ledger.byHand(async () => manager?.setRotation(isEnabled));
  }

  async setReplica(isReplica: boolean): Promise<void> {
    const { manager } = this.ledger.of;
    await this.ledger.byHand(async () => manager?.setReplica?.(isReplica));
  }

  /** RotateSecret, by a person or by Secrets Manager's own schedule; refused while another rotation is pending. */
  async rotateSecret(): Promise<void> {
    const { of, now } = this.ledger;
    if (of.manager === undefined || !now.description.rotationEnabled) return;
    if (now.description.readOnlyReplica || pendingLeftover(now.description) !== undefined) return;
    const versionId = this.newId('manager');
    await this.ledger.byHand(async () => of.manager?.register(versionId));
    this.managed = { versionId, next: 0 };
  }

  /** Secrets Manager calls the steps of its rotation. @param from the first of them; default: the next. */
  async runManaged(from?: number): Promise<void> {
    const [machine] = this.functions;
    const { managed } = this;
    if (machine === undefined || managed === undefined) return;
    for (const [place, step] of ROTATION_STEPS.entries()) {
      if (place < (from ?? managed.next)) continue;
      managed.next = place + 1;
      this.deliver(machine, managed.versionId, step);
      await this.finish(machine);
    }
  }

  newId(who: string): string {
    this.#byHand += 1;
    return `${who}-${String(this.#byHand).padStart(36, '0')}`;
  }

  /** Whether what is current now is what receivers accept, of this slot, and with life enough. */
  isFresh(): boolean {
    const token = this.ledger.tokenOf(this.ledger.now.current);
    if (token === undefined || !this.provider.isAcceptable(token.accessToken)) return false;
    const { now } = this.world;
    const isOfSlot =
      this.isManaged ||
      token.generatedAt >= slotStart(now) ||
      // The slot's own version satisfies it, though its date is by a clock that was behind, or it could not be staged at once.
      this.#slotOf.get(this.ledger.now.current ?? '') === slotStart(now);
    return isOfSlot && token.expiresAt - now >= MINIMUM_LIFE;
  }

  // What the ledger and the provider report.

  missed(life: Life, versionId: string): void {
    if (this.#claimOf.has(versionId)) return;
    life.missing = versionId;
    this.#knowClaims(versionId, 1);
    const start = this.#slotOf.get(versionId);
    if (start === undefined || this.#slots.has(start)) return;
    this.#slots.set(start, { mints: 0, attempts: 3, disturbances: this.world.disturbances });
  }

  claimed(life: Life, claimId: string, value: string): void {
    const claim = this.#claimOf.get(claimId);
    // Of a version that this process has not looked for: it was misled, or the claim is one of its last.
    if (claim === undefined) return;
    const { versionId, turn } = claim;
    this.#knowClaims(versionId, turn * 2 + 3);
    const claims = this.#claims.get(versionId) ?? [];
    this.#claims.set(versionId, claims);
    const taken = claims[turn];
    if (taken !== undefined && taken.life !== life) {
      this.world.violate('two processes hold one claim');
    }
    const before = claims[turn - 1];
    // The lease counts from when the claim was written, by its owner's clock, not from when it arrived.
    const claimedAt = parseRotationClaim(value)?.claimedAt ?? life.now();
    for (const others of this.#claims.values()) {
      for (const other of others)
        if (other !== undefined && others !== claims) other.isOvertaken = true;
    }
    claims[turn] = {
      life,
      at: claimedAt - life.machine.offset,
      isReleased: false,
      isOvertaken: false,
    };
    if (before === undefined || before.isReleased || before.life === life || life.wasMisled) return;
    const age = this.world.now - before.at;
    const lease = before.isOvertaken ? AFTER_RELEASE : CLAIM_LEASE;
    if (age < lease - this.world.clockSpread()) {
      this.world.violate('a claim was taken over while it stood');
    }
    // The one before may still mint.
    this.world.disturbances += 1;
  }

  released(claimId: string): void {
    const { versionId, turn } = this.#claimOf.get(claimId) ?? { versionId: '', turn: 0 };
    const claim = this.#claims.get(versionId)?.[turn];
    if (claim !== undefined) claim.isReleased = true;
  }

  requested(versionId: string): void {
    this.managed = { versionId, next: 0 };
  }

  #minted(life: Life): void {
    const { missing = '' } = life;
    const start = this.#slotOf.get(missing);
    const slot = start === undefined ? undefined : this.#slots.get(start);
    if (start === undefined || slot === undefined) return;
    slot.mints += 1;
    slot.attempts += 1;
    const { state } = this.provider;
    const whats = new Set([...life.tasks].map(({ what }) => what));
    // Whose mint it is cannot be told from outside where a process rotates for two reasons at once.
    const isUnclear = whats.has('check') && whats.has('ask');
    // Without effect: this token cannot become current.
    const isWasted = state !== 'well' || life.machine.offset > LIFETIME - MINIMUM_LIFE;
    if (isUnclear || isWasted) this.world.disturbances += 1;
    this.#slotOf.set(this.#slotVersion(start, slot.attempts - 1), start);
    const allowed = 1 + this.world.disturbances - slot.disturbances;
    if (slot.mints > allowed) {
      this.world.violate(`${slot.mints} mints for one slot, where ${allowed} are allowed`);
    }
  }

  // How the processes are made.

  #partsOf(life: Life): Parts {
    const known = this.#parts.get(life);
    if (known !== undefined) return known;
    const { breakage, signatures } = this.options;
    const { secretId } = this.ledger.of;
    const store = this.ledger.storeOf(life);
    const receiver = signatures.receiver(life, this.provider);
    const source = new TokenSource({
      store,
      credentialsSecretId: 'never-read',
      provider: reach(life, this.provider, () => this.#minted(life)),
      configured: CONFIGURED,
      createVerifier: () => ({
        verify: (token) =>
          life.call({
            what: 'verify',
            run: async () => {
              try {
                const verified = await receiver.verify(String(token));
                life.verified.add(String(token));
                return verified;
              } catch (error) {
                // The token of a mint that is not used, now or ever.
                this.world.disturbances += 1;
                throw error;
              }
            },
            failure: keysDown,
          }),
        keyStates: () => new Map(),
      }),
      clock: life,
    });
    const options: RotatorOptions = {
      store,
      tokenSecretId: secretId,
      mint: (signal) => source.mint(signal),
      verify: (token) => source.verify(token),
      minimumLife: MINIMUM_LIFE,
      manualInterval: MANUAL_INTERVAL,
      clock: life,
    };
    const rotator = new Rotator(breakage?.rotator?.(options) ?? options);
    const cache = this.#cacheOf(life);
    const watch = new TokenWatch({
      current: async () => (await cache.get()).value,
      knownVersionId: () => cache.status().value?.versionId,
      verify: (token) => source.verify(token),
      freshKeys: () => receiver.freshKeys(),
      clock: life,
    });
    const schedule = new RotationSchedule({
      rotator,
      slots: this.#slotsOf(secretId),
      minimumRemaining: MINIMUM_LIFE,
      clock: life,
      refusal: () => watch.refusal(),
      servedVersionId: () => cache.status().value?.versionId,
      expiredReadAt: () => expiredReadAt(cache.status()),
      random: () => 0.5,
    });
    const parts = {
      rotator,
      served: breakage?.cache?.((other) => this.#cacheOf(life, other), store) ?? cache,
      watch,
      schedule: breakage?.schedule?.(schedule, rotator) ?? schedule,
    };
    this.#parts.set(life, parts);
    return parts;
  }

  #cacheOf(life: Life, other: Partial<CacheOptions> = {}): TokenCache {
    const { secretId } = this.ledger.of;
    const store = this.ledger.storeOf(life, ({ value }) => {
      for (const id of this.#withdrawnIn(value)) life.withdrawn.add(id);
    });
    return createTokenCache({ store, secretId, clock: life, random: () => 0.5, ...other });
  }

  #withdrawnIn(value: string): readonly string[] {
    const parsed = JSON.parse(value) as { readonly withdrawn?: readonly string[] };
    return parsed.withdrawn ?? [];
  }

  #slotsOf(secretId: string): Slots {
    const noted = (start: number): number => {
      if (!this.#slotOf.has(this.#slotVersion(start, 0, secretId))) {
        for (const attempt of [0, 1, 2]) {
          this.#slotOf.set(this.#slotVersion(start, attempt, secretId), start);
        }
      }
      return start;
    };
    return {
      startOf: (now) => noted(slotStart(now)),
      nextAfter: (now) => noted(slotStart(now) + PERIOD),
      longestPeriod: () => PERIOD,
    };
  }

  #slotVersion(start: number, attempt: number, secretId = this.ledger.of.secretId): string {
    const name = `${start} ${attempt}`;
    const known = this.#slotVersions.get(name) ?? versionIdOf(secretId, slotKey(start), attempt);
    this.#slotVersions.set(name, known);
    return known;
  }

  #knowClaims(versionId: string, last: number): void {
    let turn = this.#knownClaims.get(versionId) ?? 0;
    for (; turn <= Math.min(last, MOST_CLAIMS - 1); turn += 1) {
      this.#claimOf.set(claimIdOf(versionId, turn), { versionId, turn });
    }
    this.#knownClaims.set(versionId, turn);
  }

  // What is judged here; the ledger judges what the store holds.

  #judgeServed(life: Life, token: ServiceToken, versionId: string): void {
    if (life.isOver) return;
    if (token.expiresAt <= life.now()) this.world.violate('an expired token was served');
    if (life.withdrawn.has(versionId)) this.world.violate('a withdrawn token was served');
    if (!this.ledger.states.some(({ current }) => current === versionId)) {
      this.world.violate('a token was served that was never current');
    }
  }

  #judgeRevocation(versionId: string, first: number): void {
    const { states } = this.ledger;
    const before = states[first]?.current;
    if (before === undefined || this.ledger.tokenOf(before) === undefined) return;
    // The very first token has none to withdraw, also for those who join its rotation late.
    const place = states.findIndex(({ current }) => current === versionId);
    if (this.ledger.tokenOf(states[place - 1]?.current) === undefined) return;
    const currents = new Set(states.slice(first).map(({ current }) => current));
    const withdrawn = this.ledger.tokenOf(versionId)?.withdrawn ?? [];
    if (!withdrawn.some((id) => currents.has(id))) {
      this.world.violate('a revocation withdrew nothing');
    }
  }
}

/** The start of the slot that an instant falls in. */
export function slotStart(now: number): number {
  return START + Math.floor((now - START) / PERIOD) * PERIOD;
}
