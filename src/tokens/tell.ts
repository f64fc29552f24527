/** Calls an observer. Its own mistake must neither break what is observed nor go unseen: it becomes a process warning. */
export function tell(notify: () => unknown): void {
  try {
    const told = notify();
    // An async function where a plain one is wanted: unhandled, its rejection would end the process.
    if (told instanceof Promise) told.catch(warn);
  } catch (error) {
    warn(error);
  }
}

function warn(error: unknown): void {
  // As text: an Error of another realm, such as a test runner's, is refused.
  const detail = error instanceof Error ? error.stack : undefined;
  process.emitWarning(String(error), {
    type: 'ObserverWarning',
    ...(detail !== undefined && { detail }),
  });
}
