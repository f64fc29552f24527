import { setTimeout as wait } from 'node:timers/promises';

/**
 * Two milliseconds, for a loop that waits for a connection, a process or a thread: one that only lets other work go first
 * takes a core for as long as it waits.
 */
export const pause = (): Promise<void> => wait(2);
