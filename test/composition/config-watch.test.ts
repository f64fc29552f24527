import { createHash } from 'node:crypto';
import { mkdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { ConfigWatch } from '../../src/composition/config-watch.js';
import { decideChange, type ChangedFile } from '../../src/config/config-change.js';
import { loadWithFile } from '../../src/config/load-config.js';
import type { IdentitiesConfig } from '../../src/config/peer-sections.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { VirtualClock } from '../support/virtual-clock.js';

const START = Date.parse('2026-11-22T12:00:00.000Z');
const HEAD = `
public_url: https://broker.example.com
issuer: https://provider.example.com/
trusted_issuers:
  cluster: { kind: kubernetes, issuer: 'https://cluster.example.com', jwks_uri: 'https://cluster.example.com/jwks' }
peers:
`;
const peer = (id: string): string =>
  `  ${id}: { identities: [{ issuer: cluster, subject: 'system:serviceaccount:shop:${id}' }], tokens: [default] }\n`;
const ONE = HEAD + peer('orders');
const TWO = ONE + peer('settle');

const newFolder = temporaryFolders('config-watch');

/** A watch of a real file, with everything that it reports, in order. */
async function follow(
  options: {
    readonly path?: string;
    readonly decide?: (changed: ChangedFile) => ReturnType<typeof decideChange>;
    readonly apply?: (identities: IdentitiesConfig) => void;
  } = {},
) {
  const path = options.path ?? join(await newFolder(), 'broker.yaml');
  if (options.path === undefined) await writeFile(path, ONE);
  const env = { BROKER_CONFIG: path };
  const { config, file } = loadWithFile({ env });
  if (file === undefined) throw new Error('there is a file');
  const events: unknown[] = [];
  const clock = new VirtualClock(START);
  let decisions = 0;
  const watch = new ConfigWatch({
    file,
    env,
    identities: config.identities,
    clock,
    apply: options.apply ?? (({ peers }) => events.push(['apply', ...peers.map(({ id }) => id)])),
    decide: async (changed) => {
      decisions += 1;
      return (options.decide ?? decideChange)(changed);
    },
    observer: {
      applied: ({ peers }) => events.push(['applied', peers.length]),
      waiting: (keys) => events.push(['waiting', ...keys]),
      mistaken: (mistakes) => events.push(['mistaken', ...mistakes]),
      corrected: () => events.push(['corrected']),
    },
  });
  return {
    path,
    watch,
    clock,
    decisions: () => decisions,
    /** So many checks, and what was reported meanwhile. */
    checks: async (count = 2): Promise<readonly unknown[]> => {
      for (let turn = 0; turn < count; turn += 1) await watch.check();
      return events.splice(0);
    },
    reread: async (): Promise<readonly unknown[]> => {
      await watch.reread();
      return events.splice(0);
    },
  };
}

describe('a file that is followed', () => {
  test('nothing happens while it stays as it is, touched or not', async () => {
    const { checks, path, decisions, reread } = await follow();
    expect(await checks(5)).toEqual([]);
    await writeFile(path, ONE);
    expect(await checks(5)).toEqual([]);
    expect(await reread()).toEqual([]);
    expect(decisions()).toBe(0);
  });

  test('another peer applies once, at the second check that finds it the same', async () => {
    const { checks, path, watch, clock } = await follow();
    await checks();
    clock.advance(5_000);
    await writeFile(path, TWO);
    expect(await checks(1)).toEqual([]);
    expect(await checks(1)).toEqual([
      ['apply', 'orders', 'settle'],
      ['applied', 2],
    ]);
    expect(await checks(5)).toEqual([]);
    expect(watch.status()).toEqual({ isValid: true, appliedAt: START + 5_000 });
  });

  test('a change between the start and the first check is noticed', async () => {
    const { checks, path } = await follow();
    await writeFile(path, TWO);
    expect(await checks()).toContainEqual(['applied', 2]);
  });

  test('while it is being written nothing is read, whatever there is already', async () => {
    const { checks, path, decisions } = await follow();
    await checks();
    for (const length of [TWO.length - 60, TWO.length - 40, TWO.length - 20]) {
      await writeFile(path, TWO.slice(0, length));
      expect(await checks(1)).toEqual([]);
    }
    await writeFile(path, TWO);
    expect(await checks(1)).toEqual([]);
    expect(decisions()).toBe(0);
    expect(await checks(1)).toContainEqual(['applied', 2]);
  });

  test('half a file changes nothing and is reported once; the whole one takes effect by itself', async () => {
    const { checks, path, watch } = await follow();
    await checks();
    await writeFile(path, TWO.slice(0, -30));
    expect(await checks(6)).toEqual([['mistaken', expect.stringMatching(/broker\.yaml/)]]);
    expect(watch.status()).toEqual({ isValid: false, appliedAt: START });
    await writeFile(path, TWO);
    expect(await checks()).toEqual([['apply', 'orders', 'settle'], ['applied', 2], ['corrected']]);
    expect(watch.status().isValid).toBe(true);
  });

  test('after mistakes the text of before is right again, and applies nothing anew', async () => {
    const { checks, path } = await follow();
    await checks();
    await writeFile(path, 'peers: [');
    expect(await checks()).toMatchObject([['mistaken', expect.stringMatching(/in line 1/)]]);
    await writeFile(path, 'peers: {');
    expect(await checks()).toMatchObject([['mistaken', expect.stringMatching(/in line 1/)]]);
    await writeFile(path, ONE);
    expect(await checks()).toEqual([['corrected']]);
  });

  test('a file that is gone, and comes back', async () => {
    const { checks, path, watch, reread } = await follow();
    await checks();
    await rename(path, `${path}.old`);
    expect(await checks(4)).toEqual([['mistaken', `${path}: it cannot be read (ENOENT)`]]);
    expect(await reread()).toEqual([]);
    expect(watch.status().isValid).toBe(false);
    await rename(`${path}.old`, path);
    expect(await checks()).toEqual([['corrected']]);
  });

  test('a folder or a pipe in its place is not waited for', async () => {
    const { checks, path } = await follow();
    await checks();
    await rm(path);
    await mkdir(path);
    expect(await checks()).toEqual([['mistaken', expect.stringContaining('it is a folder')]]);
  });

  test('a link that leads elsewhere, as Kubernetes makes them', async () => {
    const folder = await newFolder();
    const [first, second] = [join(folder, '..one'), join(folder, '..two')];
    for (const [version, text] of [
      [first, ONE],
      [second, TWO],
    ] as const) {
      await mkdir(version);
      await writeFile(join(version, 'broker.yaml'), text);
    }
    const data = join(folder, '..data');
    await symlink(first, data);
    await symlink(join('..data', 'broker.yaml'), join(folder, 'broker.yaml'));
    const { checks } = await follow({ path: join(folder, 'broker.yaml') });
    expect(await checks()).toEqual([]);
    await symlink(second, `${data}.tmp`);
    await rename(`${data}.tmp`, data);
    expect(await checks()).toContainEqual(['applied', 2]);
  });

  test('what has to wait is reported when it changes, and when nothing waits any more', async () => {
    const { checks, path } = await follow();
    await checks();
    await writeFile(path, `${ONE}log_level: debug\n`);
    expect(await checks()).toEqual([['waiting', 'log_level']]);
    await writeFile(path, `${TWO}log_level: debug\n`);
    expect(await checks()).toEqual([
      ['apply', 'orders', 'settle'],
      ['applied', 2],
    ]);
    await writeFile(path, TWO);
    expect(await checks()).toEqual([['waiting']]);
  });

  test('a request to read it reads at once, and two at the same time decide once', async () => {
    const { path, watch, reread, decisions } = await follow();
    await writeFile(path, TWO);
    const first = watch.reread();
    expect(await reread()).toEqual([
      ['apply', 'orders', 'settle'],
      ['applied', 2],
    ]);
    await first;
    expect(decisions()).toBe(1);
  });

  test('what cannot be judged or applied changes nothing, and is tried when the file changes again', async () => {
    let fails = true;
    const failing = await follow({
      apply: () => {
        if (fails) throw new TypeError('no');
      },
    });
    await writeFile(failing.path, TWO);
    expect(await failing.checks(4)).toEqual([
      ['mistaken', expect.stringMatching(/could not be used/)],
    ]);
    expect(failing.watch.status()).toEqual({ isValid: false, appliedAt: START });
    fails = false;
    await writeFile(failing.path, `${TWO}# again\n`);
    expect(await failing.checks()).toEqual([['applied', 2], ['corrected']]);
  });

  test('what could not be judged is judged once more when it is asked for, with the same text', async () => {
    let fails = true;
    const { path, checks, reread } = await follow({
      decide: (changed) => {
        if (fails) throw new Error('no thread');
        return decideChange(changed);
      },
    });
    await checks();
    await writeFile(path, TWO);
    expect(await checks(4)).toEqual([['mistaken', expect.stringMatching(/could not be used/)]]);
    fails = false;
    expect(await checks(4)).toEqual([]);
    expect(await reread()).toEqual([['apply', 'orders', 'settle'], ['applied', 2], ['corrected']]);
  });

  test('it checks every second until it is stopped', async () => {
    const { watch, clock, path } = await follow();
    await writeFile(path, TWO);
    const stop = new AbortController();
    const running = watch.run(stop.signal);
    while (watch.status().appliedAt === START)
      await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
    await running;
    expect(clock.now() - START).toBeGreaterThanOrEqual(1_000);
  });
});

test('the digest that decides is that of the text', () => {
  const { file } = loadWithFile({ env: { BROKER_CONFIG: 'x' }, readFile: () => ONE });
  expect(file?.digest).toBe(createHash('sha256').update(ONE).digest('base64'));
});
