import { close, open, readFileSync } from 'node:fs';

/** What the broker needs for itself: its files, its connections to store and provider, and those for health. */
const OWN_DESCRIPTORS = 96;
const MOST_CONNECTIONS = 4_096;
const CHECK_INTERVAL = 5_000;

/** How many connections a broker takes, and what to say about that. */
export interface ConnectionLimit {
  readonly max: number;
  readonly warning?: string;
}

/**
 * How many connections are taken: as many as were asked for, or 4,096, and never so many that none is left for the store.
 *
 * @param limit the process's limit of open files; `undefined` when it is not known.
 */
export function decideConnectionLimit(
  asked: number | undefined,
  limit: number | undefined,
): ConnectionLimit {
  const possible = Math.max(1, (limit ?? Number.POSITIVE_INFINITY) - OWN_DESCRIPTORS);
  const max = Math.min(asked ?? MOST_CONNECTIONS, possible);
  if (asked === undefined || asked <= possible) return { max };
  return {
    max,
    warning: `BROKER_MAX_CONNECTIONS is ${asked}, but this process may have ${limit} files open, so that it takes ${max} connections. Raise the limit (ulimit -n, LimitNOFILE) to at least ${asked + OWN_DESCRIPTORS}.`,
  };
}

/** The process's limit of open files (`RLIMIT_NOFILE`); `undefined` on other systems than Linux, or without one. */
export function descriptorLimit(): number | undefined {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    const found = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
    return found === undefined ? undefined : Number(found);
  } catch {
    // No /proc here. The limit is not known then.
    return undefined;
  }
}

/** Looks every 5 seconds whether a file can be opened, and notifies of changes. @returns ends it. */
export function watchDescriptors(changed: (areExhausted: boolean) => void): () => void {
  let wereExhausted = false;
  const settle = (areExhausted: boolean): void => {
    if (areExhausted === wereExhausted) return;
    wereExhausted = areExhausted;
    changed(areExhausted);
  };
  const timer = setInterval(() => {
    open('/dev/null', 'r', (error, descriptor) => {
      settle(error?.code === 'EMFILE' || error?.code === 'ENFILE');
      if (error === null) close(descriptor);
    });
  }, CHECK_INTERVAL).unref();
  return () => clearInterval(timer);
}
