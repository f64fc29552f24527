import { constants, fstatSync, openSync, writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

/** Where lines go, without ever waiting for whoever reads them. */
interface LineBuffer extends DestinationStream {
  /** Calls back when every line is written, or after a second. */
  flush(done?: () => void): void;
  /** Writes what can be written at once. */
  flushSync(): void;
  /** Lines that were dropped since the start, because too many were waiting. */
  dropped(): number;
}

/** Options of {@link bufferLines}. */
export interface LineBufferOptions {
  /** Writes some of the bytes, and says how many; throws when none can be written now (`EAGAIN`), or at all. */
  readonly write: (bytes: Uint8Array) => number;
  /** Is called when lines flow again after some were dropped. */
  readonly onDropped?: (lines: number) => void;
  /** Bytes that wait at most; further lines are dropped. Default: 1 MiB. */
  readonly mostBytes?: number;
}

const MOST_BYTES = 1_048_576;
/** Characters that are gathered before they are written. */
const GATHERED = 32_768;
/** Milliseconds that a line is gathered at most. */
const LONGEST_WAIT = 20;
/** Milliseconds until a write that failed is tried again: doubling, up to the one where nobody reads, or the other. */
const LONGEST_PAUSE = 64;
const LONGEST_PAUSE_AFTER_FAULT = 1_000;
/** Milliseconds that the last lines of a process are given. */
const LAST_FLUSH = 1_000;

/**
 * Gathers lines and writes them together: under load a write for each would cost more than the lines themselves. A line
 * waits 20 ms at most while somebody reads.
 *
 * When nobody does (a pipe whose reader hangs, a stopped terminal), or writing fails (a full disk, a reader that is
 * gone), lines wait up to a limit, and further ones are dropped and counted. What waits is tried again for as long as
 * the process runs; at its exit for one second more.
 */
export function bufferLines(options: LineBufferOptions): LineBuffer {
  const { write, onDropped, mostBytes = MOST_BYTES } = options;
  let gathered = '';
  let pending: Buffer | undefined;
  /** Bytes of both. */
  let waiting = 0;
  let timer: NodeJS.Timeout | undefined;
  let pause = 0;
  let dropped = 0;
  let unsaid = 0;
  let hasGivenUp = false;

  /** Writes until nothing more can be written. @returns whether nothing is left. */
  const pump = (): boolean => {
    clearTimeout(timer);
    timer = undefined;
    while (waiting > 0) {
      if (pending === undefined) {
        pending = Buffer.from(gathered);
        gathered = '';
      }
      try {
        const count = write(pending);
        pending = count < pending.length ? pending.subarray(count) : undefined;
        waiting -= count;
        pause = 0;
        hasGivenUp = false;
      } catch (error) {
        const isFull = error instanceof Error && 'code' in error && error.code === 'EAGAIN';
        pause = Math.min(pause * 2 || 1, isFull ? LONGEST_PAUSE : LONGEST_PAUSE_AFTER_FAULT);
        // Lines that nobody reads are no reason to live on.
        timer = setTimeout(pump, pause).unref();
        return false;
      }
    }
    if (unsaid === 0) return true;
    const lines = unsaid;
    unsaid = 0;
    onDropped?.(lines);
    // What that has written, too: at exit there is no later.
    return pump();
  };

  const flush = (done?: () => void): void => {
    const deadline = performance.now() + LAST_FLUSH;
    const look = (): void => {
      const isDone = pump();
      hasGivenUp = !isDone && performance.now() >= deadline;
      if (isDone || hasGivenUp) done?.();
      else setTimeout(look, Math.min(pause, LONGEST_WAIT));
    };
    look();
  };

  process.on('exit', () => {
    const deadline = performance.now() + (hasGivenUp ? 0 : LAST_FLUSH);
    const sleeper = new Int32Array(new SharedArrayBuffer(4));
    while (!pump() && performance.now() < deadline) Atomics.wait(sleeper, 0, 0, 5);
  });

  return {
    write: (line) => {
      const size = Buffer.byteLength(line);
      if (waiting + size > mostBytes) {
        dropped += 1;
        unsaid += 1;
        return;
      }
      gathered += line;
      waiting += size;
      if (pause > 0) return;
      if (gathered.length >= GATHERED) pump();
      // Not unref'ed: a process that has nothing else to do still writes its last lines.
      else timer ??= setTimeout(pump, LONGEST_WAIT);
    },
    flush,
    flushSync: () => void pump(),
    dropped: () => dropped,
  };
}

let standardOutput: number | undefined;

/**
 * Writes to standard output without ever waiting: throws `EAGAIN` when whoever reads it does not, whether it is a pipe, a
 * socket or a terminal. Files take bytes at any time.
 */
export function writeToStandardOutput(bytes: Uint8Array): number {
  standardOutput ??= withoutWaiting(process.stdout.fd);
  return writeSync(standardOutput, bytes);
}

/** A descriptor for the same file as another one, whose writes do not wait. */
function withoutWaiting(descriptor: number): number {
  // A file that was opened again would be written from its start.
  if (fstatSync(descriptor).isFile()) return descriptor;
  try {
    // Opened anew, so that other processes that share the first one (a shell, a supervisor) cannot make it wait again.
    return openSync(
      `/proc/self/fd/${descriptor}`,
      constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY,
    );
  } catch {
    // A socket, another user's pipe, or another system than Linux. What `process.stdout` has opened does not wait
    // either, except for a terminal.
    return descriptor;
  }
}
