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

/**
 * What became on the way of a text that should be a JSON object; `undefined` when all of it seems to be here, right or wrong.
 * A proxy that lost a body, or a part of it, often ends the answer as if it were whole.
 *
 * - `empty`: nothing, white space, a byte-order mark, or the `null` of a function that returned nothing.
 * - `cut short`: it begins as JSON does, and ends inside of an object, a list or a text.
 */
export function lostBody(text: string): 'empty' | 'cut short' | undefined {
  // JavaScript counts the byte-order mark as white space.
  const json = text.trim();
  if (json === '' || json === 'null') return 'empty';
  if (!json.startsWith('{') && !json.startsWith('[')) return undefined;
  let depth = 0;
  for (const [token, end] of json.matchAll(/"(?:[^"\\]+|\\.)*("?)|[[\]{}]/gs)) {
    if (end === '') return 'cut short';
    if (token === '{' || token === '[') depth += 1;
    else if (token === '}' || token === ']') depth -= 1;
  }
  return depth > 0 ? 'cut short' : undefined;
}
