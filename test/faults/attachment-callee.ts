import { afterAll } from '@jest/globals';
import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { program } from './embedded-child.js';

/** A request that arrived at the callee. */
export interface Arrived {
  readonly method: string;
  readonly url: string;
  readonly body: string;
}

/** A service that is called, in a process of its own. */
export interface CalleeProcess {
  readonly origin: string;
  readonly arrived: readonly Arrived[];
  /** Resolves when so many requests have arrived in all. */
  hasGot(count: number): Promise<void>;
  /** Refuses the tokens with these `jti` from now on, and no others. */
  refuse(what: readonly string[] | 'everything'): void;
  /** Lets the requests go on that wait. */
  goOn(): void;
}

const running = new Set<ChildProcess>();

// Whatever a test does, its processes end with it.
afterAll(async () => {
  for (const child of running) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});

/** Starts one that trusts an issuer. */
export async function startCalleeProcess(
  issuer: string,
  audience: string,
  jwksUri: string,
): Promise<CalleeProcess> {
  const child = fork(program('attachment-callee.mjs'), [issuer, audience, jwksUri], {
    execArgv: [],
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  const arrived: Arrived[] = [];
  const port = new Promise<number>((resolve, reject) => {
    child.on('message', (message: { port?: number; arrived?: Arrived }) => {
      if (message.port !== undefined) resolve(message.port);
      if (message.arrived !== undefined) arrived.push(message.arrived);
    });
    child.once('exit', (code) => reject(new Error(`The callee ended with ${code}.`)));
  });
  return {
    origin: `http://127.0.0.1:${await port}`,
    arrived,
    hasGot: async (count) => {
      while (arrived.length < count) await once(child, 'message');
    },
    refuse: (refuse) => void child.send({ refuse }),
    goOn: () => void child.send({ goOn: true }),
  };
}
