import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { basic } from '../serving/broker.js';
import { startBroker, type BrokerProcess } from '../support/broker-process.js';

// Checkers of OpenAPI against the document and against the broker that answers it. Schemathesis makes up requests, valid
// and invalid ones, and compares each answer with what is documented.

let folder = '';
let broker: BrokerProcess;
/** How many there are: each path has one. */
let operations = 0;
let peer: { readonly id: string; readonly secret: string };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'openapi-'));
  const data = join(folder, 'data');
  broker = await startBroker(['dev'], {
    BROKER_DATA_DIR: data,
    BROKER_AUDIENCE: 'https://services.example.test',
    BROKER_AUTHORIZE: 'true',
    // Most of many requests to rotate find a version of a moment ago.
    BROKER_MANUAL_ROTATION_SECONDS: '5',
  });
  const answer = await (await fetch(`${broker.url}/openapi.json`)).text();
  await writeFile(join(folder, 'openapi.json'), answer);
  operations = Object.keys((JSON.parse(answer) as { paths: object }).paths).length;
  peer = JSON.parse(await readFile(join(data, 'demo-peer.json'), 'utf8')) as typeof peer;
});
afterAll(async () => {
  await broker?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** Runs a checker of the interop virtual environment to its end. @returns what it wrote. */
async function check(program: string, args: readonly string[]): Promise<string> {
  const python = process.env['INTEROP_PYTHON'] ?? '';
  expect(python).not.toBe('');
  const child = spawn(join(dirname(python), program), args, {
    cwd: folder,
    env: { ...process.env, NO_COLOR: '1' },
    // It is killed long after it should have ended, so that it never outlives the test.
    timeout: 240_000,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const code = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  const [out, err] = await Promise.all([text(child.stdout), text(child.stderr)]);
  if ((await code) !== 0) throw new Error(`${program} says:\n${out}\n${err}`);
  return out;
}

const CHECKS = [
  'not_a_server_error',
  'status_code_conformance',
  'content_type_conformance',
  'response_headers_conformance',
  'response_schema_conformance',
];

/** A refusal there has no body where there is no token, which a checker takes for one that is lost. */
const EMPTY_BODIES = `
[[operations]]
include-operation-id = ["authorize", "authorizeByPath"]
checks.content_type_conformance.enabled = false
checks.response_schema_conformance.enabled = false
`;

interface Attempt {
  readonly name: string;
  /** Default: no login. */
  readonly authorization?: string;
  readonly phases: string;
  readonly only?: readonly string[];
}

/** Lets schemathesis ask the broker. @returns how many requests it made up, at how many operations. */
async function attempt({
  name,
  authorization,
  phases,
  only = [],
}: Attempt): Promise<{ readonly cases: number; readonly operations: number }> {
  // Nothing that proves who asks stands in a command line, which others may read.
  const config = join(folder, `${name}.toml`);
  await writeFile(
    config,
    [
      // A request is held for a second, where one would be.
      '[parameters]\n"header.Prefer" = "wait=1"',
      authorization === undefined
        ? ''
        : `[headers]\nAuthorization = ${JSON.stringify(authorization)}`,
      '[checks]\nenabled = false',
      ...CHECKS.map((name) => `${name}.enabled = true`),
      EMPTY_BODIES,
    ].join('\n'),
    { mode: 0o600 },
  );
  const out = await check('schemathesis', [
    `--config-file=${config}`,
    'run',
    join(folder, 'openapi.json'),
    `--url=${broker.url}`,
    `--phases=${phases}`,
    '--max-examples=10',
    '--seed=1',
    '--generation-deterministic',
    '--request-timeout=10',
    '--continue-on-failure',
    '--warnings=off',
    ...only.map((id) => `--include-operation-id=${id}`),
  ]);
  return {
    cases: Number(/(\d+) generated/.exec(out)?.[1]),
    operations: Number(/(\d+) selected \//.exec(out)?.[1]),
  };
}

/** The statuses of a route so far, as the broker counts them. */
async function statusesOf(route: string): Promise<readonly string[]> {
  const metrics = await (await fetch(`${broker.url}/metrics`)).text();
  const lines = metrics.split('\n').filter((line) => line.includes(`route="${route}"`));
  const statuses = lines.flatMap((line) => /status(?:_code)?="(\w+)"/.exec(line)?.[1] ?? []);
  return [...new Set(statuses)].toSorted();
}

test('the document is valid OpenAPI 3.1', async () => {
  const out = await check('openapi-spec-validator', [
    '--schema',
    '3.1',
    join(folder, 'openapi.json'),
  ]);
  expect(out).toContain('OK');
});

describe('schemathesis finds no answer that is not documented', () => {
  test('for a peer with all roles', async () => {
    const authorization = basic(peer.id, peer.secret);
    const phases = 'examples,coverage,fuzzing';
    const made = await attempt({ name: 'peer', authorization, phases });
    expect(made.operations).toBe(operations);
    expect(made.cases).toBeGreaterThan(300);
    for (const route of [
      '/oauth2/token',
      '/v1/token',
      '/v1/tokens/{name}',
      '/v1/rotate',
      '/oauth2/introspect',
      '/health/ready',
      '/metrics',
    ]) {
      const statuses = await statusesOf(route);
      expect([route, ...statuses]).toEqual(expect.arrayContaining([route, '2xx']));
      expect(statuses.filter((status) => status.startsWith('5'))).toEqual([]);
    }
  });

  test('for a gateway', async () => {
    const headers = { authorization: basic(peer.id, peer.secret) };
    const answer = await fetch(`${broker.url}/v1/token`, { headers });
    const { access_token: token } = (await answer.json()) as { access_token: string };
    const { cases } = await attempt({
      name: 'gateway',
      authorization: `Bearer ${token}`,
      phases: 'examples,coverage,fuzzing',
      only: ['authorize', 'authorizeByPath'],
    });
    expect(cases).toBeGreaterThan(30);
    expect(await statusesOf('/v1/authorize')).toEqual(expect.arrayContaining(['2xx', '4xx']));
  });

  test('for nobody', async () => {
    const { cases } = await attempt({ name: 'nobody', phases: 'coverage' });
    expect(cases).toBeGreaterThan(100);
    expect((await fetch(`${broker.url}/v1/token`)).status).toBe(401);
  });

  test('for a peer with a wrong secret, also when it has tried too often', async () => {
    const authorization = basic(peer.id, 'wrong'.repeat(8));
    const { cases } = await attempt({ name: 'wrong', authorization, phases: 'coverage' });
    expect(cases).toBeGreaterThan(100);
    const { status } = await fetch(`${broker.url}/v1/token`, { headers: { authorization } });
    expect(status).toBe(429);
  });
});
