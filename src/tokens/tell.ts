/** Calls an observer. Its own mistake must neither break what is observed nor go unseen: it becomes a process warning. */
export function tell(notify: () => void): void {
  try {
    notify();
  } catch (error) {
    // As text: an Error of another realm, such as a test runner's, is refused.
    const detail = error instanceof Error ? error.stack : undefined;
    process.emitWarning(String(error), {
      type: 'ObserverWarning',
      ...(detail !== undefined && { detail }),
    });
  }
}
