import { constants, fstatSync, openSync, writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

/** Options of {@link bufferLines}. */
export interface LineBufferOptions {
  /** Writes some of the bytes and returns how many; throws when none can be written now (`EAGAIN`), or at all. */
  readonly write: (bytes: Uint8Array) => number;
  /** Called with their number when lines flow again after some were dropped. */
  readonly onDropped?: (lines: number) => void;
  /** Bytes that may wait; further lines are dropped. Default: 1 MiB. */
  readonly mostBytes?: number;
}

/** A destination that never waits for whoever reads it. */
interface LineBuffer extends DestinationStream {
  /** Calls back when every line is written, or after a second. */
  flush(done?: () => void): void;
  /** Writes what can be written now. */
  flushSync(): void;
  /** Lines that were dropped since the start. */
  readonly dropped: () => number;
}

const MOST_BYTES = 1_048_576;
/** Characters that are gathered before they are written. */
const GATHERED = 32_768;
/** Milliseconds that a line is gathered at most. */
const GATHERING = 20;
/** Milliseconds until a write that failed is tried again. */
const RETRY = 10;
/** Milliseconds that the last lines of a process are given. */
const LAST_FLUSH = 1_000;

/**
 * Gathers lines and writes them together: under load, one write for each would cost more than the lines themselves.
 *
 * When writing fails (a pipe whose reader hangs, a full disk), up to `mostBytes` wait, further lines are dropped and
 * counted, and the write is retried while the process runs, and for one second at its exit.
 *
 * sonic-boom, pino's own destination, cannot do this. At `EAGAIN` it sleeps on the event loop, or keeps the process alive
 * until somebody reads; its `flushSync`, which pino calls at exit, retries every other error forever; and its `flush`
 * calls back while up to `minLength` bytes are unwritten.
 */
export function bufferLines(options: LineBufferOptions): LineBuffer {
  const { write, onDropped, mostBytes = MOST_BYTES } = options;
  let gathered = '';
  let bytes: Uint8Array = new Uint8Array();
  /** The size of both. */
  let waiting = 0;
  let timer: NodeJS.Timeout | undefined;
  let isBlocked = false;
  let dropped = 0;
  let unreported = 0;
  let hasGivenUp = false;

  /** Writes until nothing more can be written. @returns whether nothing is left. */
  const pump = (): boolean => {
    clearTimeout(timer);
    timer = undefined;
    try {
      while (waiting > 0) {
        if (bytes.length === 0) {
          bytes = Buffer.from(gathered);
          gathered = '';
        }
        const count = write(bytes);
        bytes = bytes.subarray(count);
        waiting -= count;
      }
    } catch {
      // The log cannot say why: it is what failed. The metric shows it as dropped lines.
      isBlocked = true;
      // Lines that nobody reads must not keep the process alive.
      timer = setTimeout(pump, RETRY).unref();
      return false;
    }
    isBlocked = false;
    hasGivenUp = false;
    if (unreported === 0) return true;
    const lines = unreported;
    unreported = 0;
    onDropped?.(lines);
    // What that has written, too: at exit there is no later.
    return pump();
  };

  process.on('exit', () => {
    const deadline = performance.now() + (hasGivenUp ? 0 : LAST_FLUSH);
    const sleeper = new Int32Array(new SharedArrayBuffer(4));
    while (!pump() && performance.now() < deadline) Atomics.wait(sleeper, 0, 0, RETRY);
  });

  return {
    write: (line) => {
      const size = Buffer.byteLength(line);
      if (waiting + size > mostBytes) {
        dropped += 1;
        unreported += 1;
        return;
      }
      gathered += line;
      waiting += size;
      if (isBlocked) return;
      if (gathered.length >= GATHERED) pump();
      // Keeps the process alive: one that has nothing else to do still writes its last lines.
      else timer ??= setTimeout(pump, GATHERING);
    },
    flush: (done) => {
      const deadline = performance.now() + LAST_FLUSH;
      const attempt = (): void => {
        const isDone = pump();
        hasGivenUp = !isDone && performance.now() >= deadline;
        if (isDone || hasGivenUp) done?.();
        else setTimeout(attempt, RETRY);
      };
      attempt();
    },
    flushSync: () => void pump(),
    dropped: () => dropped,
  };
}

let standardOutput: number | undefined;

/**
 * Writes to standard output without waiting: throws `EAGAIN` when the reader of a pipe, a socket or a terminal does not
 * read. Files take bytes at any time.
 */
export function writeToStandardOutput(bytes: Uint8Array): number {
  standardOutput ??= openWithoutWaiting(process.stdout.fd);
  return writeSync(standardOutput, bytes);
}

/** A descriptor of the same file, whose writes do not wait. */
function openWithoutWaiting(descriptor: number): number {
  // A regular file that is opened again would be written from its start.
  if (fstatSync(descriptor).isFile()) return descriptor;
  try {
    // Opened anew, so that other processes that share the first descriptor (a shell, a supervisor) cannot make it wait.
    return openSync(
      `/proc/self/fd/${descriptor}`,
      constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY,
    );
  } catch {
    // A socket, another user's pipe, or no Linux. Except for terminals, Node.js has opened these without waiting, too.
    return descriptor;
  }
}
