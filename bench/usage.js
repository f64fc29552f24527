import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Clock ticks of `/proc/PID/stat`: USER_HZ, which is 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** Resident memory of a process in bytes; `undefined` where neither `/proc` nor `ps` tells. */
export async function residentBytes(pid) {
  try {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
  } catch {
    // Not Linux.
  }
  try {
    const { stdout } = await promisify(execFile)('ps', ['-o', 'rss=', '-p', String(pid)]);
    return Number(stdout.trim()) * 1024;
  } catch {
    return undefined;
  }
}

/** Seconds of processor time that a process has used; `undefined` where `/proc` does not tell. */
export async function processorSeconds(pid) {
  try {
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
    // The name, in parentheses, may hold anything; the numbers come after it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  } catch {
    return undefined;
  }
}

/** Looks at a process's memory again and again; `stop` returns the greatest that was seen. */
export function watchMemory(pid) {
  let greatest;
  const look = async () => {
    const bytes = await residentBytes(pid);
    if (bytes !== undefined) greatest = Math.max(greatest ?? 0, bytes);
  };
  const timer = setInterval(() => void look(), 200);
  return {
    stop: async () => {
      clearInterval(timer);
      await look();
      return greatest;
    },
  };
}

/** How many descriptors a process may have open; `undefined` where `/proc` does not tell. */
export async function descriptors() {
  try {
    const limits = await readFile('/proc/self/limits', 'utf8');
    return Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1]);
  } catch {
    return undefined;
  }
}

let collectGarbage;

/** Bytes of this process's heap that are still needed. */
export function heapAfterCollection() {
  if (collectGarbage === undefined) {
    setFlagsFromString('--expose-gc');
    collectGarbage = runInNewContext('gc');
  }
  collectGarbage();
  return process.memoryUsage().heapUsed;
}
