import { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { expect } from '@jest/globals';
import { fileURLToPath } from 'node:url';
import { ROTATION_STEPS, type RotationStep } from '../../src/rotation/rotation.js';
import { serviceTokenOf } from '../../src/rotation/token-source.js';
import { parseServiceToken, serializeServiceToken } from '../../src/tokens/service-token.js';
import { createRemoteKeySet, createTokenVerifier } from '../../src/verification/index.js';
import {
  answers,
  startProviderServer,
  type Answer,
  type ProviderServer,
} from '../support/provider-server.js';
import { ExecutionEnvironment, type Outcome } from './lambda-environment.js';
import { Gate } from './lambda-gate.js';
import { PlayedSecret } from './lambda-played-secret.js';
import type { Moment, RotationPlan } from './lambda-schedules.js';

const BOOTSTRAP = fileURLToPath(new URL('lambda-bootstrap.mjs', import.meta.url));
const MOTO = process.env['AWS_ENDPOINT_URL_SECRETS_MANAGER'] ?? '';
const AUDIENCE = 'https://services.example.test';
const UNDISTURBED: Moment = {
  provider: undefined,
  stray: undefined,
  kill: undefined,
  twin: false,
  again: false,
};

/** What the credentials secret has to hold. */
export const CREDENTIALS = JSON.stringify({ client_id: 'broker', client_secret: 'right-secret' });

/** What Secrets Manager hands to a step, and nobody may log. */
export const ROTATION_TOKEN = 'a-rotation-token-that-nobody-may-log';

/** What has happened in all functions of a test. */
export interface Tally {
  rotations: number;
  attempts: number;
  invocations: number;
  killed: number;
  /** Rotations that ended without a new version, since the provider had minted nothing usable. */
  givenUp: number;
}

/** The settings of the SDK that this process has, and those of the broker. */
function settings(endpoint: string, broker: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => name.startsWith('AWS_'));
  return { ...Object.fromEntries(own), AWS_ENDPOINT_URL_SECRETS_MANAGER: endpoint, ...broker };
}

/**
 * A function that rotates one secret in moto, and Secrets Manager, which drives it: two environments, since Lambda may
 * run two at a time, a provider that can misbehave, and a gate in which an environment can be killed.
 */
export class PlayedFunction {
  private constructor(
    private readonly tally: Tally,
    private readonly secret: PlayedSecret,
    private readonly provider: ProviderServer,
    private readonly gate: Gate,
    private readonly first: ExecutionEnvironment,
    private readonly second: ExecutionEnvironment,
    private readonly verify: (value: string) => Promise<void>,
  ) {}

  /** A function over a new secret, which holds a genuine token already. */
  static async create(
    aws: SecretsManagerClient,
    taskRoot: string,
    credentialsId: string,
    tally: Tally,
  ): Promise<PlayedFunction> {
    const provider = await startProviderServer({ audience: AUDIENCE, tokenLifeSeconds: 90_000 });
    const token = serviceTokenOf(await provider.token(), undefined, Date.now());
    const secret = await PlayedSecret.create(aws, serializeServiceToken(token));
    const gate = await Gate.open(MOTO);
    const environment = (endpoint: string): Promise<ExecutionEnvironment> =>
      ExecutionEnvironment.open({
        command: [process.execPath, BOOTSTRAP],
        taskRoot,
        handler: 'rotation.handler',
        env: settings(endpoint, {
          BROKER_ISSUER: provider.issuer,
          BROKER_AUDIENCE: AUDIENCE,
          BROKER_CREDENTIALS_SECRET_ID: credentialsId,
          BROKER_TOKEN_SECRET_ID: secret.name,
        }),
      });
    const keys = createRemoteKeySet({ jwksUri: provider.jwksUri });
    const verifier = createTokenVerifier({
      issuers: [{ issuer: provider.issuer, audiences: AUDIENCE, profile: 'rfc9068', keys }],
    });
    return new PlayedFunction(
      tally,
      secret,
      provider,
      gate,
      await environment(gate.url),
      await environment(MOTO),
      async (value) => {
        const { principal } = await verifier.verify(parseServiceToken(value).accessToken);
        expect(principal).toMatchObject({ kind: 'service', clientId: provider.clientId });
      },
    );
  }

  /** Everything that the function has written. */
  get output(): string {
    return this.first.output + this.second.output;
  }

  get coldStarts(): number {
    return this.first.coldStarts + this.second.coldStarts;
  }

  get minted(): number {
    return this.provider.received('token').length;
  }

  async close(): Promise<void> {
    await this.provider.close();
  }

  /**
   * A rotation, as Secrets Manager makes it: tries all four steps again until all have succeeded. One that the function
   * has given up is followed by a new one, which must succeed.
   */
  async rotate(plan: RotationPlan): Promise<void> {
    const before = await this.#expectServed();
    const versionId = await this.secret.beginRotation();
    this.tally.rotations += 1;
    for (const moments of [...plan, ROTATION_STEPS.map(() => UNDISTURBED)]) {
      this.tally.attempts += 1;
      if (await this.#attempt(versionId, moments)) {
        expect(await this.#expectServed()).toBe(versionId);
        await this.secret.endRotation(versionId);
        return;
      }
      if ((await this.secret.labels())[versionId]?.includes('AWSPENDING') === true) continue;
      if ((await this.#expectServed()) !== before) continue;
      this.tally.givenUp += 1;
      expect(plan.flat().some(({ provider }) => provider !== undefined)).toBe(true);
      await this.rotate([]);
      return;
    }
    throw new Error(`An undisturbed attempt failed:\n${this.output.slice(-4_000)}`);
  }

  async #attempt(versionId: string, moments: readonly Moment[]): Promise<boolean> {
    for (const [index, step] of ROTATION_STEPS.entries()) {
      if (!(await this.#moment(step, versionId, moments[index] ?? UNDISTURBED))) return false;
    }
    return true;
  }

  /** One step with all that befalls it. True when Secrets Manager sees it succeed. */
  async #moment(step: RotationStep, versionId: string, moment: Moment): Promise<boolean> {
    const { kill, stray, twin, again } = moment;
    if (moment.provider) this.provider.always('token', await this.#misconduct(moment.provider));
    if (stray !== undefined) await this.#invoke(stray, versionId);
    const undo = kill && this.gate.cutAt(kill.nth, kill.point, () => void this.first.kill());
    const [outcome] = await Promise.all([
      this.#invoke(step, versionId),
      twin ? this.#invoke(step, versionId, this.second) : undefined,
    ]);
    this.provider.always('token', undefined);
    if (undo?.() === true) this.tally.killed += 1;
    await this.#expectServed();
    if (outcome.ended !== 'answered') return false;
    return !again || (await this.#invoke(step, versionId)).ended === 'answered';
  }

  #invoke(step: RotationStep, versionId: string, where = this.first): Promise<Outcome> {
    this.tally.invocations += 1;
    return where.invoke(this.secret.event(step, versionId, ROTATION_TOKEN));
  }

  /** What must always hold: one current version, with a token that receivers accept. @returns its id. */
  async #expectServed(): Promise<string | undefined> {
    const current = await this.secret.currentVersions();
    expect(current).toHaveLength(1);
    await this.verify(await this.secret.currentValue());
    return current[0];
  }

  async #misconduct(what: NonNullable<Moment['provider']>): Promise<Answer> {
    if (what === 'down') return answers.empty(503);
    const claims = what === 'a customer' ? { sub: 'a-person' } : { aud: 'https://other.example' };
    return answers.token({ access_token: await this.provider.token(claims) });
  }
}
