import { CreateSecretCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { buildTaskFolder, type TaskFolder } from './lambda-bundle.js';
import { CREDENTIALS, PlayedFunction, ROTATION_TOKEN } from './lambda-played-function.js';
import { randomSchedules, type Schedule } from './lambda-schedules.js';

const SCHEDULES = Number(process.env['INTEROP_LAMBDA_SCHEDULES'] ?? 200);
/** Printed in the test's name and in every failure. The same at each run, unless another is given. */
const SEED = Number(process.env['INTEROP_LAMBDA_SEED'] ?? 20_261_122);
/** Secrets that are rotated side by side, each by a function of its own. */
const FUNCTIONS = 8;

const aws = new SecretsManagerClient({});
const functions: PlayedFunction[] = [];
let task: TaskFolder;

beforeAll(async () => {
  task = await buildTaskFolder();
}, 120_000);
afterAll(async () => {
  for (const one of functions) await one.close();
  await task.remove();
  aws.destroy();
});

async function runOneAfterTheOther(
  schedules: readonly Schedule[],
  played: PlayedFunction,
): Promise<void> {
  for (const schedule of schedules) {
    try {
      for (const plan of schedule) await played.rotate(plan);
    } catch (error) {
      const which = `INTEROP_LAMBDA_SEED=${SEED}: ${JSON.stringify(schedule)}`;
      throw new Error(`${which}\n${played.output.slice(-4_000)}`, { cause: error });
    }
  }
}

test(`${SCHEDULES} random schedules: always one current version, and its token is genuine (seed ${SEED})`, async () => {
  const tally = { rotations: 0, attempts: 0, invocations: 0, killed: 0, givenUp: 0 };
  const credentialsId = `interop/${randomUUID()}/credentials`;
  await aws.send(new CreateSecretCommand({ Name: credentialsId, SecretString: CREDENTIALS }));
  const schedules = randomSchedules(SCHEDULES, SEED);
  await Promise.all(
    Array.from({ length: FUNCTIONS }, async (_, share) => {
      const played = await PlayedFunction.create(aws, task.taskRoot, credentialsId, tally);
      functions.push(played);
      const own = schedules.filter((_schedule, index) => index % FUNCTIONS === share);
      await runOneAfterTheOther(own, played);
    }),
  );
  const coldStarts = functions.reduce((sum, one) => sum + one.coldStarts, 0);
  const mints = functions.reduce((sum, one) => sum + one.minted, 0);
  console.log(JSON.stringify({ schedules: SCHEDULES, ...tally, coldStarts, mints }));
  // A run in which nothing went wrong would prove nothing.
  expect(tally.rotations).toBeGreaterThanOrEqual(SCHEDULES);
  expect(tally.killed).toBeGreaterThan(0);
  expect(tally.givenUp).toBeGreaterThan(0);
  const output = functions.map((one) => one.output).join('');
  expect(output).toContain('rotation step ended');
  expect(output).not.toContain(ROTATION_TOKEN);
  expect(output).not.toContain('right-secret');
  expect(output).not.toMatch(/eyJ[A-Za-z0-9_-]{20}/);
}, 1_500_000);
