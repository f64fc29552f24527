/** Of a pipe, a terminal, and a socket. */
const READER_IS_GONE: ReadonlySet<string> = new Set(['EPIPE', 'EIO', 'ECONNRESET']);

/**
 * Lets a command go on when nobody reads what it writes any more, as with `| head`: what it does is done, and its exit
 * code stays its own. Without this the process would end with an exception.
 */
export function outliveClosedPipes(
  streams: readonly NodeJS.WritableStream[] = [process.stdout, process.stderr],
): void {
  for (const stream of streams) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (!READER_IS_GONE.has(error.code ?? '')) throw error;
    });
  }
}
