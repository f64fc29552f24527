/** Calls an observer. Its own mistake must neither break what is observed nor go unseen: it becomes a process warning. */
export function tell(notify: () => void): void {
  try {
    notify();
  } catch (error) {
    process.emitWarning(error instanceof Error ? error : String(error));
  }
}
