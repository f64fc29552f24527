// Apart from those of the other workers, whose process ids follow each other.
let next = 20_000 + ((process.pid * 101) % 12_000);

/**
 * A port for a server that is stopped and started again. The system gives ports from 32768 on to servers that name none, so
 * that nothing else of the tests takes this one meanwhile.
 */
export function fixedPort(): number {
  next += 1;
  return next;
}
