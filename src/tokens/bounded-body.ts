/**
 * The whole body of a response, unless it is larger than allowed: then the rest is not read, and the connection is
 * given up.
 *
 * @param maxBytes the largest body.
 * @param tooLarge makes the error to throw for a larger one.
 */
export async function readBoundedBody(
  response: Response,
  maxBytes: number,
  tooLarge: () => Error,
): Promise<Buffer<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  // Leaving the loop by a throw cancels the rest of the body.
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    if (size > maxBytes) throw tooLarge();
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, size);
}
