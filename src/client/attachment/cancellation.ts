/** What can end a request early: an `AbortSignal`, axios' own `CancelToken`, both, or nothing. */
export interface Cancellation {
  readonly signal?: CancelSignal | null | undefined;
  readonly cancelToken?: CancelToken | null | undefined;
}

interface CancelSignal {
  readonly aborted: boolean;
  addEventListener?(type: 'abort', listener: () => void): void;
  removeEventListener?(type: 'abort', listener: () => void): void;
}

interface CancelToken {
  readonly reason?: unknown;
  subscribe(listener: () => void): void;
  unsubscribe(listener: () => void): void;
}

/** True when the request was cancelled. */
export function isCancelled({ signal, cancelToken }: Cancellation): boolean {
  return signal?.aborted === true || (cancelToken?.reason ?? undefined) !== undefined;
}

/** Waits for a promise that others share. @returns `undefined` when the request is cancelled first. */
export function untilCancelled<T>(
  cancellation: Cancellation,
  promise: Promise<T>,
): Promise<T | undefined> {
  const canBe = Boolean(cancellation.signal) || Boolean(cancellation.cancelToken);
  return canBe ? race(cancellation, promise) : promise;
}

async function race<T>(cancellation: Cancellation, promise: Promise<T>): Promise<T | undefined> {
  const { signal, cancelToken } = cancellation;
  let stop = (): void => undefined;
  const cancelled = new Promise<undefined>((resolve) => {
    stop = () => resolve(undefined);
  });
  if (isCancelled(cancellation)) stop();
  signal?.addEventListener?.('abort', stop);
  cancelToken?.subscribe(stop);
  try {
    return await Promise.race([cancelled, promise]);
  } finally {
    signal?.removeEventListener?.('abort', stop);
    cancelToken?.unsubscribe(stop);
  }
}
