import { constants, type Stats } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { BrokerError } from '../tokens/errors.js';
import type { Clock } from '../tokens/time.js';
import {
  CHAIN_START,
  digestLine,
  nextLine,
  readLine,
  TORN,
  type AuditEvent,
  type ChainEnd,
} from './audit-chain.js';

/** Where lines of the audit go. */
export interface AuditSink {
  /** Where the chain goes on from. */
  readonly start: ChainEnd;
  /** True when the last line before is half written. */
  readonly isTorn: boolean;
  /** Takes one line, without its line break, and never waits. @returns false when there is no room for it. */
  write(line: string): boolean;
  /** Opens the file again, which somebody has moved away. */
  reopen(): void;
  /** Resolves when everything is written, or after a second. */
  close(): Promise<void>;
}

/** Options of {@link AuditTrail}. */
interface AuditTrailOptions {
  readonly sink: AuditSink;
  readonly clock: Clock;
}

/**
 * Writes events as a chain of lines. Recording never waits, and never throws: what finds no room is counted, and the next
 * line that finds some says how many were dropped.
 *
 * @example
 * ```ts
 * const trail = new AuditTrail({ sink: await openAuditFile('audit.jsonl', observer), clock });
 * trail.record({ outcome: 'served', peer: 'orders', token: 'default' });
 * ```
 */
export class AuditTrail {
  readonly #sink: AuditSink;
  readonly #clock: Clock;
  #end: ChainEnd;
  #dropped = 0;
  #droppedInAll = 0;

  constructor({ sink, clock }: AuditTrailOptions) {
    this.#sink = sink;
    this.#clock = clock;
    this.#end = sink.start;
    if (sink.isTorn) this.#write(TORN);
    this.record({ outcome: 'started' });
  }

  /** The last line: log it elsewhere, and `audit verify --head` finds out that lines were cut off. */
  get end(): ChainEnd {
    return this.#end;
  }

  /** How many events were dropped since the start. */
  get dropped(): number {
    return this.#droppedInAll;
  }

  /** Writes one event. */
  record(event: AuditEvent): void {
    if (this.#dropped > 0) {
      if (!this.#write({ outcome: 'dropped', dropped: this.#dropped })) return this.#drop();
      this.#dropped = 0;
    }
    if (!this.#write(event)) this.#drop();
  }

  /** Opens the file again, for whoever rotates files. The chain goes on. */
  reopen(): void {
    this.#sink.reopen();
  }

  /** Writes the last event, and what waits. */
  async close(): Promise<void> {
    this.record({ outcome: 'stopped' });
    await this.#sink.close();
  }

  #drop(): void {
    this.#dropped += 1;
    this.#droppedInAll += 1;
  }

  #write(event: AuditEvent): boolean {
    const { line, end } = nextLine(this.#end, event, this.#clock.now());
    if (!this.#sink.write(line)) return false;
    this.#end = end;
    return true;
  }
}

/** A sink for a stream of lines that never waits, such as the log's: each process begins a chain of its own. */
export function lineSink(write: (line: string) => boolean): AuditSink {
  return {
    start: CHAIN_START,
    isTorn: false,
    write,
    reopen: () => {},
    close: () => Promise.resolve(),
  };
}

/** Notified of the file. */
export interface AuditFileObserver {
  /** Lines could not be written; they wait, and writing is tried again. */
  failed?(error: unknown): void;
  /** They are written again. */
  recovered?(): void;
}

/** Options of {@link openAuditFile}. */
interface AuditFileOptions {
  readonly observer?: AuditFileObserver;
  /** Bytes that may wait. Default: 4 MiB. */
  readonly mostBytes?: number;
  /** Milliseconds until a write that failed is tried again. Default: 1,000. */
  readonly retryMs?: number;
  /** Writes some of the bytes. Default: as the file does. */
  readonly write?: (file: FileHandle, bytes: Uint8Array) => Promise<number>;
}

const MOST_BYTES = 4_194_304;
const RETRY = 1_000;
/** Milliseconds that the last lines are given. */
const LAST_FLUSH = 1_000;
/** The longest line that the broker writes has less. */
const LONGEST_LINE = 65_536;

/**
 * Opens a file for one broker's audit, or makes it, readable for its owner alone. The chain goes on from its last line.
 *
 * @throws {BrokerError} `AUDIT_FILE_UNUSABLE` when it cannot be opened, `AUDIT_FILE_INVALID` when its last line is not one
 *   of an audit.
 */
export async function openAuditFile(
  path: string,
  options: AuditFileOptions = {},
): Promise<AuditSink> {
  const file = await openForAppending(path);
  try {
    const { end, isTorn, isUnended } = await lastLineOf(file, path);
    const sink = new AuditFile(path, file, end, isTorn, options);
    if (isUnended) sink.endLine();
    return sink;
  } catch (error) {
    await file.close();
    throw error instanceof BrokerError ? error : unusable(path, error);
  }
}

/**
 * Opens a regular file, and nothing that would lose lines: neither a pipe nor a device.
 *
 * @throws {BrokerError} `AUDIT_FILE_UNUSABLE`
 */
async function openForAppending(path: string): Promise<FileHandle> {
  const { O_APPEND, O_CREAT, O_RDWR, O_NOCTTY, O_NONBLOCK } = constants;
  const flags = O_APPEND | O_CREAT | O_RDWR | O_NOCTTY | O_NONBLOCK;
  const file = await open(path, flags, 0o600).catch((error: unknown) => {
    throw unusable(path, error);
  });
  if ((await file.stat()).isFile()) return file;
  await file.close();
  throw unusable(path, undefined);
}

function unusable(path: string, cause: unknown): BrokerError {
  return new BrokerError(
    'AUDIT_FILE_UNUSABLE',
    'misconfigured',
    `The audit cannot be written to "${path}". Set BROKER_AUDIT to a file in a folder that the broker may write to, to stdout, or to off.`,
    { cause },
  );
}

/** Where a file's chain has come to, and whether its last line is half written, or only lacks its line break. */
async function lastLineOf(
  file: FileHandle,
  path: string,
): Promise<{ readonly end: ChainEnd; readonly isTorn: boolean; readonly isUnended: boolean }> {
  const stats: Stats = await file.stat();
  // Two lines: half a line may follow the last whole one.
  const tail = Buffer.alloc(Math.min(stats.size, 2 * LONGEST_LINE));
  await file.read(tail, 0, tail.length, stats.size - tail.length);
  if (tail.length === 0) return { end: CHAIN_START, isTorn: false, isUnended: false };
  const isUnended = tail.at(-1) !== LINE_BREAK;
  const last = lineBefore(tail, isUnended ? tail.length : tail.length - 1);
  const read = readLine(last.bytes);
  if (read !== undefined) {
    return { end: { seq: read.seq, digest: digestLine(last.bytes) }, isTorn: false, isUnended };
  }
  if (!isUnended) throw invalidFile(path);
  const digest = digestLine(last.bytes);
  if (last.start === 0 && tail.length === stats.size) {
    return { end: { seq: 0, digest }, isTorn: true, isUnended };
  }
  const before = readLine(lineBefore(tail, last.start - 1).bytes);
  if (before === undefined) throw invalidFile(path);
  return { end: { seq: before.seq, digest }, isTorn: true, isUnended };
}

const LINE_BREAK = 0x0a;

/** The line that ends before a position. */
function lineBefore(
  bytes: Buffer,
  end: number,
): { readonly bytes: Buffer; readonly start: number } {
  const start = end <= 0 ? 0 : bytes.lastIndexOf(LINE_BREAK, end - 1) + 1;
  return { bytes: bytes.subarray(start, Math.max(start, end)), start };
}

function invalidFile(path: string): BrokerError {
  return new BrokerError(
    'AUDIT_FILE_INVALID',
    'misconfigured',
    `"${path}" does not end with a line of an audit, so that the chain cannot go on from it. Examine it (service-token-broker audit verify), move it away, or set BROKER_AUDIT to another file.`,
  );
}

/** Writes behind the answers: one write at a time, and what comes meanwhile waits in memory. */
class AuditFile implements AuditSink {
  #file: FileHandle | undefined;
  #waiting = '';
  #bytes: Uint8Array = new Uint8Array();
  /** The size of both. */
  #size = 0;
  #running: Promise<void> | undefined;
  #mustReopen = false;
  #hasFailed = false;
  #isClosing = false;

  constructor(
    private readonly path: string,
    file: FileHandle,
    readonly start: ChainEnd,
    readonly isTorn: boolean,
    private readonly options: AuditFileOptions,
  ) {
    this.#file = file;
  }

  /** Ends the line that a process before this one has not ended. */
  endLine(): void {
    this.#add('\n');
  }

  write(line: string): boolean {
    const size = Buffer.byteLength(line) + 1;
    if (this.#size + size > (this.options.mostBytes ?? MOST_BYTES)) return false;
    this.#add(`${line}\n`);
    return true;
  }

  reopen(): void {
    this.#mustReopen = true;
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, LAST_FLUSH);
    });
    await Promise.race([this.#running, late]);
    clearTimeout(timer);
    await Promise.race([this.#file?.close().catch(() => {}), late]);
  }

  #add(text: string): void {
    this.#waiting += text;
    this.#size += Buffer.byteLength(text);
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    // What is recorded in the same turn goes into the same write.
    await Promise.resolve();
    while (this.#size > 0 || this.#mustReopen) {
      try {
        await this.#advance();
        if (this.#hasFailed) this.options.observer?.recovered?.();
        this.#hasFailed = false;
      } catch (error) {
        if (!this.#hasFailed) this.options.observer?.failed?.(error);
        this.#hasFailed = true;
        if (this.#isClosing) break;
        await new Promise((resolve) => {
          setTimeout(resolve, this.options.retryMs ?? RETRY).unref();
        });
      }
    }
    this.#running = undefined;
  }

  /** One step: opens the file again, or writes. */
  async #advance(): Promise<void> {
    // A line is never divided between two files.
    if (this.#mustReopen && this.#bytes.length === 0) {
      this.#mustReopen = false;
      await this.#openAgain();
      return;
    }
    if (this.#bytes.length === 0) {
      this.#bytes = Buffer.from(this.#waiting);
      this.#waiting = '';
    }
    if (this.#file === undefined) return;
    const written = await (this.options.write ?? writeSome)(this.#file, this.#bytes);
    this.#bytes = this.#bytes.subarray(written);
    this.#size -= written;
  }

  /** When that fails, the file that is open stays in use: nothing is lost. */
  async #openAgain(): Promise<void> {
    try {
      const next = await openForAppending(this.path);
      const last = this.#file;
      this.#file = next;
      await last?.close();
    } catch (error) {
      this.options.observer?.failed?.(error);
    }
  }
}

async function writeSome(file: FileHandle, bytes: Uint8Array): Promise<number> {
  return (await file.write(bytes)).bytesWritten;
}
