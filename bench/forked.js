import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** Starts a script of this folder; `ask` sends it a message and waits for its answer. */
export function forked(script) {
  const child = fork(fileURLToPath(new URL(script, import.meta.url)), { execArgv: [] });
  return {
    pid: child.pid,
    ask: async (message) => {
      const ended = new AbortController();
      const { signal } = ended;
      const exit = once(child, 'exit', { signal }).then(([code]) => {
        throw new Error(`${script} ended with ${code}.`);
      });
      const answered = once(child, 'message', { signal });
      child.send(message);
      try {
        const [answer] = await Promise.race([answered, exit]);
        if (answer.error !== undefined) throw new Error(`${script}: ${answer.error}`);
        return answer;
      } finally {
        ended.abort();
        await Promise.allSettled([answered, exit]);
      }
    },
    stop: async () => {
      if (child.exitCode !== null) return;
      const exited = once(child, 'exit');
      child.kill();
      await exited;
    },
  };
}
