import type { DestinationStream } from 'pino';

/** A destination that writes in the background, and what it still holds when it is asked to. */
export interface BackgroundDestination extends DestinationStream {
  flush(done?: (error?: Error) => void): void;
  flushSync(): void;
}

/** Characters that are gathered at most. */
const MOST = 32_768;
/** Milliseconds that a line waits at most. */
const LONGEST_WAIT = 20;

/**
 * Gathers lines and hands them on together: each write of a file descriptor in the background costs a trip to another
 * thread and back, whatever its length, and under load that would be more than the lines themselves cost.
 *
 * A line waits 20 ms at most. Those that wait are handed on when the process exits, and by `flush` and `flushSync`.
 */
export function bufferLines(destination: BackgroundDestination): BackgroundDestination {
  let gathered = '';
  let timer: NodeJS.Timeout | undefined;

  const handOn = (): void => {
    clearTimeout(timer);
    timer = undefined;
    if (gathered === '') return;
    const lines = gathered;
    gathered = '';
    destination.write(lines);
  };
  // In front of the destination's own listener, which writes what it holds and then accepts nothing more.
  process.prependListener('exit', handOn);

  return {
    write: (line) => {
      gathered += line;
      if (gathered.length >= MOST) handOn();
      // Not unref'ed: a process that has nothing else to do still writes its last lines.
      else timer ??= setTimeout(handOn, LONGEST_WAIT);
    },
    flush: (done) => {
      handOn();
      destination.flush(done);
    },
    flushSync: () => {
      handOn();
      destination.flushSync();
    },
  };
}
