import { describe, expect, test } from '@jest/globals';
import { appendFile, readFile, rename, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { verifyAudit } from '../../src/cli/verify-audit.js';
import {
  CHAIN_START,
  nextLine,
  walkLine,
  type AuditEvent,
} from '../../src/operations/audit-chain.js';
import { AuditTrail, lineSink, openAuditFile } from '../../src/operations/audit.js';
import { LINKS, ODD_FILES } from '../support/odd-files.js';
import { fc } from '../support/properties.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { VirtualClock } from '../support/virtual-clock.js';

const START = Date.parse('2026-11-22T12:00:00.000Z');
const clock = new VirtualClock(START);
const newFolder = temporaryFolders('audit');

const served = (peer: string): AuditEvent => ({
  outcome: 'served',
  peer,
  method: 'secret',
  token: 'default',
  versionId: 'v1',
  jti: `secret-jti-${peer}`,
  remoteAddress: '10.0.0.1',
  requestId: 'r1',
});

function chainOf(events: readonly AuditEvent[]): string[] {
  let end = CHAIN_START;
  return events.map((event) => {
    const next = nextLine(end, event, START);
    ({ end } = next);
    return next.line;
  });
}

async function trailIn(path: string): Promise<AuditTrail> {
  return new AuditTrail({ sink: await openAuditFile(path), clock });
}

test('a line has these members, and no raw jti', () => {
  const [line = ''] = chainOf([served('orders')]);
  expect(JSON.parse(line)).toEqual({
    time: '2026-11-22T12:00:00.000Z',
    seq: 1,
    peer: 'orders',
    method: 'secret',
    token: 'default',
    version_id: 'v1',
    jti_sha256: expect.stringMatching(/^[0-9a-f]{64}$/),
    outcome: 'served',
    remote_address: '10.0.0.1',
    request_id: 'r1',
    prev: '0'.repeat(64),
  });
  expect(line).not.toContain('secret-jti');
});

describe('any single edit of a chain is found', () => {
  const chain = chainOf(['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'].map(served));
  const last = nextLine(CHAIN_START, served('x'), START);
  type Edit = (lines: string[], at: number, to: number, text: string) => void;
  const edits: Readonly<Record<string, Edit>> = {
    removed: (lines, at) => void lines.splice(at, 1),
    repeated: (lines, at) => void lines.splice(at, 0, lines[at] ?? ''),
    moved: (lines, at, to) => void lines.splice(to, 0, ...lines.splice(at, 1)),
    added: (lines, at) => void lines.splice(at, 0, last.line),
    'with garbage': (lines, at, _to, text) => void lines.splice(at, 0, text),
    changed: (lines, at, to, text) => {
      const line = lines[at] ?? '';
      const cut = to * 20;
      lines[at] = line.slice(0, cut) + text + line.slice(cut + text.length);
    },
    blank: (lines, at) => {
      lines[at] = ` ${lines[at] ?? ''}`;
    },
    'cut off': (lines, at) => void lines.splice(at),
  };

  test.each(Object.keys(edits))('%s', async (name) => {
    const path = join(await newFolder(), 'audit.jsonl');
    const write = (lines: readonly string[]): Promise<void> =>
      writeFile(path, lines.map((line) => `${line}\n`).join(''));
    await write(chain);
    const whole = await verifyAudit([path]);
    expect(whole).toMatchObject({ whole: true, lines: 8, seq: 8, faults: [] });
    const place = fc.nat({ max: chain.length - 1 });
    const text = fc.string({ minLength: 1, maxLength: 5 }).filter((one) => !one.includes('\n'));
    await fc.assert(
      fc.asyncProperty(place, place, text, async (at, to, given) => {
        const lines = [...chain];
        edits[name]?.(lines, at, to, given);
        fc.pre(lines.join('\n') !== chain.join('\n'));
        await write(lines);
        const report = await verifyAudit([path], { head: whole.head });
        expect(report.whole).toBe(false);
        // Without the head only what concerns the end is not found.
        const first = lines.findIndex((line, index) => line !== chain[index]);
        const isAtEnd = (first < 0 ? lines.length : first) >= chain.length - 1;
        if (!isAtEnd && name !== 'cut off') {
          const alone = await verifyAudit([path]);
          expect(alone.whole).toBe(false);
          // It says where: at the first line that differs, or at the one after it.
          const { line } = alone.faults[0] ?? { line: 0 };
          expect(line).toBeGreaterThanOrEqual(first + 1);
          expect(line).toBeLessThanOrEqual(first + 2);
        }
      }),
      { numRuns: 60 },
    );
  });
});

describe('a file', () => {
  test('is for its owner alone, and its chain goes on after a restart', async () => {
    const path = join(await newFolder(), 'audit.jsonl');
    const first = await trailIn(path);
    first.record(served('orders'));
    await first.close();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const second = await trailIn(path);
    second.record(served('billing'));
    const { end } = second;
    await second.close();
    const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
    const run = ['started', 'served', 'stopped'];
    expect(lines.map((line) => JSON.parse(line).outcome)).toEqual([...run, ...run]);
    expect(await verifyAudit([path])).toMatchObject({ whole: true, lines: 6, seq: 6 });
    expect((await verifyAudit([path], { head: end.digest })).faults).toEqual([
      { file: path, line: 6, fault: 'other_head' },
    ]);
  });

  test('that was moved away is opened anew, and the chain leads from one to the other', async () => {
    const folder = await newFolder();
    const [path, moved] = [join(folder, 'audit.jsonl'), join(folder, 'audit.jsonl.1')];
    const trail = await trailIn(path);
    trail.record(served('orders'));
    await rename(path, moved);
    trail.record(served('orders'));
    trail.reopen();
    for (let count = 0; count < 500 && !(await exists(path)); count += 1) await tick();
    trail.record(served('billing'));
    await trail.close();
    expect(await verifyAudit([moved, path])).toMatchObject({ whole: true, lines: 5 });
    const before = await verifyAudit([moved]);
    expect(before.whole).toBe(true);
    expect((await verifyAudit([path])).faults).toMatchObject([{ line: 1, fault: 'lines_missing' }]);
    expect((await verifyAudit([path], { after: before.head })).whole).toBe(true);
    expect((await verifyAudit([path, moved])).whole).toBe(false);
  });

  test.each(Object.entries({ ...ODD_FILES, 'a link to a device': LINKS['to a device'] }))(
    'that %s has taken the place of stays in use, since that would lose lines',
    async (_what, make) => {
      const folder = await newFolder();
      const [path, moved] = [join(folder, 'audit.jsonl'), join(folder, 'audit.jsonl.1')];
      const failures: unknown[] = [];
      const observer = { failed: (error: unknown) => void failures.push(error) };
      const trail = new AuditTrail({ sink: await openAuditFile(path, { observer }), clock });
      trail.record(served('orders'));
      await rename(path, moved);
      await make?.(path);
      trail.reopen();
      for (let count = 0; count < 500 && failures.length === 0; count += 1) await tick();
      trail.record(served('billing'));
      await trail.close();
      expect(failures).toMatchObject([{ code: 'AUDIT_FILE_UNUSABLE' }]);
      expect(await verifyAudit([moved])).toMatchObject({ whole: true, lines: 4 });
    },
  );

  test.each([1, 20, 100, -1])('with half a line (%d bytes) says so', async (kept) => {
    const path = join(await newFolder(), 'audit.jsonl');
    await (await trailIn(path)).close();
    const text = await readFile(path, 'utf8');
    const [, line = ''] = chainOf([served('a'), served('b')]);
    await appendFile(path, line.slice(0, kept));
    expect((await verifyAudit([path])).faults).toMatchObject([{ line: 3, fault: 'unended' }]);
    const trail = await trailIn(path);
    trail.record(served('c'));
    await trail.close();
    expect(await verifyAudit([path])).toMatchObject({ whole: true, tears: 1, lines: 7 });
    expect(await readFile(path, 'utf8')).toContain(text);
    // The half line counts, too.
    const torn = (await readFile(path, 'utf8')).replace(`\n${line.slice(0, kept)}\n`, '\nx\n');
    await writeFile(path, torn);
    expect((await verifyAudit([path])).whole).toBe(false);
  });

  test('that begins with half a line', async () => {
    const path = join(await newFolder(), 'audit.jsonl');
    await writeFile(path, '{"time":"20');
    await (await trailIn(path)).close();
    expect(await verifyAudit([path])).toMatchObject({ whole: true, tears: 1, lines: 4 });
  });

  test('whose last line lacks only its line break goes on', async () => {
    const path = join(await newFolder(), 'audit.jsonl');
    await (await trailIn(path)).close();
    await truncate(path, (await stat(path)).size - 1);
    await (await trailIn(path)).close();
    expect(await verifyAudit([path])).toMatchObject({ whole: true, tears: 0, lines: 4 });
  });

  test('of somebody else is not touched', async () => {
    const folder = await newFolder();
    const path = join(folder, 'notes.txt');
    await writeFile(path, 'notes\n');
    await expect(openAuditFile(path)).rejects.toMatchObject({ code: 'AUDIT_FILE_INVALID' });
    expect(await readFile(path, 'utf8')).toBe('notes\n');
    for (const wrong of [folder, join(folder, 'none', 'audit')]) {
      await expect(openAuditFile(wrong)).rejects.toMatchObject({ code: 'AUDIT_FILE_UNUSABLE' });
    }
  });

  test('that is emptied while the broker is stopped begins a new chain, which is told', async () => {
    const folder = await newFolder();
    const [first, second] = [join(folder, '1'), join(folder, '2')];
    await (await trailIn(first)).close();
    await (await trailIn(second)).close();
    expect((await verifyAudit([first, second])).faults).toEqual([
      { file: second, line: 1, fault: 'new_chain' },
    ]);
    await writeFile(first, '');
    expect((await verifyAudit([first])).whole).toBe(false);
    await expect(verifyAudit([join(folder, 'none')])).rejects.toMatchObject({
      code: 'AUDIT_FILE_UNREADABLE',
    });
  });

  test('that takes nothing keeps a bounded number of lines, and then says how many were dropped', async () => {
    const path = join(await newFolder(), 'audit.jsonl');
    let release = (): void => {};
    const blocked = new Promise<void>((resolve) => {
      release = resolve;
    });
    const sink = await openAuditFile(path, {
      mostBytes: 2_000,
      write: async (file, bytes) => {
        await blocked;
        // Part of it at a time, as a disk that is nearly full does.
        return (await file.write(bytes.subarray(0, 100))).bytesWritten;
      },
    });
    const trail = new AuditTrail({ sink, clock });
    for (let count = 0; count < 100; count += 1) trail.record(served('orders'));
    expect(trail.dropped).toBeGreaterThan(80);
    const { dropped } = trail;
    release();
    for (let count = 0; count < 1_000 && (await stat(path)).size < 1_500; count += 1) await tick();
    await tick();
    trail.record(served('billing'));
    await trail.close();
    const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
    const told = lines.map((line) => JSON.parse(line)).filter((line) => 'dropped' in line);
    expect(told.every((line) => line.outcome === 'dropped')).toBe(true);
    expect(told.reduce((sum, line) => sum + Number(line.dropped), 0)).toBe(dropped);
    expect((await verifyAudit([path])).whole).toBe(true);
  });

  test('that fails for a while loses nothing', async () => {
    const path = join(await newFolder(), 'audit.jsonl');
    const notices: string[] = [];
    let failures = 1;
    const sink = await openAuditFile(path, {
      observer: {
        failed: () => void notices.push('failed'),
        recovered: () => void notices.push('recovered'),
      },
      write: async (file, bytes) => {
        failures -= 1;
        if (failures >= 0) throw Object.assign(new Error('full'), { code: 'ENOSPC' });
        return (await file.write(bytes)).bytesWritten;
      },
      retryMs: 1,
    });
    const trail = new AuditTrail({ sink, clock });
    trail.record(served('orders'));
    for (let count = 0; count < 1_000 && notices.length < 2; count += 1) await tick();
    await trail.close();
    expect(notices).toEqual(['failed', 'recovered']);
    expect(await verifyAudit([path])).toMatchObject({ whole: true, lines: 3 });
  });
});

test('a stream of lines begins a chain, and drops what it does not take', () => {
  const lines: string[] = [];
  let isFull = false;
  const trail = new AuditTrail({
    sink: lineSink((line) => {
      if (!isFull) lines.push(line);
      return !isFull;
    }),
    clock,
  });
  isFull = true;
  for (const peer of ['a', 'b', 'c']) trail.record(served(peer));
  isFull = false;
  trail.record(served('d'));
  expect(lines.map((line) => JSON.parse(line)).map(({ outcome, seq }) => [outcome, seq])).toEqual([
    ['started', 1],
    ['dropped', 2],
    ['served', 3],
  ]);
});

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

function tick(): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, 2);
  });
}

test('a line with thousands of levels is no line where Node.js cannot write it again', () => {
  const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`;
  const fault = isWritten(deep) ? undefined : 'not_a_line';
  const { line } = nextLine(CHAIN_START, { outcome: 'started' }, 0);
  const changed = Buffer.from(`${line.slice(0, -1)},"reason":${deep}}`);
  expect(walkLine({ end: CHAIN_START }, changed).fault).toBe(fault);
});

/** Newer releases of Node.js write any depth. */
function isWritten(text: string): boolean {
  try {
    return JSON.stringify(JSON.parse(text)) === text;
  } catch {
    return false;
  }
}
