import { isAnyArrayBuffer } from 'node:util/types';

/**
 * True for a body that can be sent a second time with the same bytes. Everything that is not known to be so counts as
 * used up by the first time: streams, iterators, form data made of streams.
 */
export function isRepeatableBody(body: unknown): boolean {
  return (
    body === undefined ||
    body === null ||
    typeof body === 'string' ||
    body instanceof URLSearchParams ||
    body instanceof Blob ||
    body instanceof FormData ||
    ArrayBuffer.isView(body) ||
    isAnyArrayBuffer(body)
  );
}
