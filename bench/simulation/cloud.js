import { streamOf } from './chance.js';
import { isWithin } from './company.js';

/** A replica in another Region shows a new version this much later; milliseconds. */
const REPLICATION = 2_000;
/** Of the calls while the store throttles. */
const THROTTLED_SHARE = 0.5;

/** What one call of the port costs at Secrets Manager, as `secrets/aws/aws-store.ts` makes it. */
export const API_CALLS = {
  read: { GetSecretValue: 1 },
  /** Secrets Manager has one error for "no secret" and "no version": the store asks which it was. */
  readNothing: { GetSecretValue: 1, DescribeSecret: 1 },
  describe: { DescribeSecret: 1 },
  create: { CreateSecret: 1 },
  putPending: { PutSecretValue: 1 },
  putClaim: { PutSecretValue: 1 },
  promote: { GetSecretValue: 1, UpdateSecretVersionStage: 1 },
  clearPending: { UpdateSecretVersionStage: 1 },
  releaseClaim: { UpdateSecretVersionStage: 1 },
};

/** The store and the provider of the company, with their failures, and the count of what is asked of them. */
export class Cloud {
  /** Calls at Secrets Manager by name, failed ones left out: AWS does not bill them. */
  storeCalls = {};
  mints = 0;
  /** Versions of each token as they became current: `{ token, versionId, at, mintedAt, expiresAt }`. */
  versions = [];
  /** How many people are about to rotate by hand. */
  operations = 0;

  constructor({ company, code, time }) {
    this.company = company;
    this.code = code;
    this.time = time;
    this.memory = new code.MemorySecretStore({
      clock: time.clock(),
      pendingStaysAfterPromote: false,
    });
    this.random = streamOf(company.seed, 'cloud');
  }

  /** The id of the key that the provider signs with now: which of them it is. */
  keyId() {
    const now = this.time.now();
    return `key-${this.company.keyChanges.filter((at) => at <= now).length}`;
  }

  /** The store as the process `isAlive` belongs to sees it from its Region. */
  storeIn(region, isAlive) {
    const call =
      (method) =>
      (...given) =>
        this.#call(region, isAlive, method, given);
    const methods = Object.keys(API_CALLS).filter((name) => name !== 'readNothing');
    return {
      name: 'simulated',
      ...Object.fromEntries(methods.map((method) => [method, call(method)])),
      requestRotation: () =>
        Promise.reject(new Error('Nobody asks Secrets Manager to rotate here.')),
      close: async () => undefined,
    };
  }

  async #call(region, isAlive, method, given) {
    const { SecretStoreError, isStoreError } = this.code;
    const clock = this.time.clock(isAlive);
    const now = clock.now();
    const { latency } = this.company;
    if (isWithin(this.company.storeDown[region], now)) {
      await clock.sleep(latency.failure);
      throw new SecretStoreError('STORE_UNAVAILABLE', 'The store is down.');
    }
    const isThrottled = isWithin(this.company.storeThrottled[region], now);
    if (isThrottled && this.random() < THROTTLED_SHARE) {
      await clock.sleep(latency.failure);
      throw new SecretStoreError('STORE_THROTTLED', 'Too many requests.');
    }
    await clock.sleep(method === 'read' || method === 'describe' ? latency.read : latency.write);
    try {
      const result = await this.#effect(region, method, given);
      this.count(API_CALLS[method]);
      return result;
    } catch (error) {
      const isMissing = isStoreError(error, 'VERSION_NOT_FOUND') && method === 'read';
      this.count(API_CALLS[isMissing ? 'readNothing' : method]);
      throw error;
    }
  }

  async #effect(region, method, given) {
    const [secretId, selector = {}] = given;
    const token = this.#tokenOf(secretId);
    if (token === undefined || region === 0) {
      const result = await this.memory[method](...given);
      if (method === 'promote' || method === 'putPending') await this.#note(token);
      return result;
    }
    if (method === 'describe') {
      return { ...(await this.memory.describe(secretId)), readOnlyReplica: true };
    }
    if (method !== 'read' || selector.versionId !== undefined) return this.memory[method](...given);
    const seen = this.versions.findLast(
      (version) => version.token === token && version.at <= this.time.now() - REPLICATION,
    );
    if (seen === undefined) {
      throw new this.code.SecretStoreError('VERSION_NOT_FOUND', 'Nothing is replicated yet.');
    }
    return this.memory.read(secretId, { versionId: seen.versionId });
  }

  /** Notes a version that has become current. */
  async #note(token) {
    if (token === undefined) return;
    const { isStoreError, parseServiceToken } = this.code;
    try {
      const { versionId, value } = await this.memory.read(tokenSecretId(token));
      if (this.versions.findLast((version) => version.token === token)?.versionId === versionId)
        return;
      const { generatedAt, expiresAt } = parseServiceToken(value);
      this.versions.push({
        token,
        versionId,
        at: this.time.now(),
        mintedAt: generatedAt,
        expiresAt,
      });
    } catch (error) {
      if (!isStoreError(error, 'VERSION_NOT_FOUND')) throw error;
    }
  }

  #tokenOf(secretId) {
    const [, number] = /^token-(\d+)$/.exec(secretId) ?? [];
    return number === undefined ? undefined : Number(number);
  }

  /** Counts calls at Secrets Manager, by their names. */
  count(calls) {
    for (const [name, count] of Object.entries(calls)) {
      this.storeCalls[name] = (this.storeCalls[name] ?? 0) + count;
    }
  }

  /** The provider as one process sees it from its Region; the retries are the broker's own. */
  providerIn(region, isAlive, random) {
    const { retrying, ProviderError } = this.code;
    const { company } = this;
    const clock = this.time.clock(isAlive);
    const attempt = async () => {
      await clock.sleep(company.latency.mint);
      if (isWithin(company.providerDown[region], clock.now())) {
        throw new ProviderError('PROVIDER_UNAVAILABLE', 'The provider fails: status 503.');
      }
      this.mints += 1;
      const life = company.tokenHours * 3_600;
      const issuedAt = Math.floor(clock.now() / 1_000);
      const header = { alg: 'RS256', typ: 'at+jwt', kid: this.keyId() };
      const claims = {
        iss: ISSUER,
        aud: AUDIENCE,
        iat: issuedAt,
        exp: issuedAt + life,
        jti: String(this.mints),
      };
      const accessToken = [header, claims].map(encoded).concat('signature').join('.');
      return { accessToken, expiresInSeconds: life };
    };
    return {
      mint: (_settings, _credentials, signal) => {
        const deadline = clock.now() + 30_000;
        return retrying(
          { clock, deadline, attempts: 3, timeoutMs: 5_000, random, signal },
          attempt,
        );
      },
      metadata: () => Promise.reject(new Error('Nothing is discovered here.')),
    };
  }
}

export const ISSUER = 'https://provider.example.test/';
export const AUDIENCE = 'https://services.example.test';
export const PEERS_SECRET = 'peers';
export const CREDENTIALS_SECRET = 'credentials';
export const tokenSecretId = (token) => `token-${token}`;

const encoded = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');

/** The `kid` of a token of {@link Cloud.providerIn}. */
export function keyIdOf(accessToken) {
  return JSON.parse(Buffer.from(accessToken.split('.')[0], 'base64url').toString()).kid;
}
