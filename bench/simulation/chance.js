/**
 * Random numbers from a seed (mulberry32). A stream is one 32-bit number, so that a hundred thousand replicas have one each.
 */
export function nextState(state) {
  return (state + 0x6d2b79f5) | 0;
}

/** From 0 up to, but not including, 1. */
export function numberOf(state) {
  let mixed = Math.imul(state ^ (state >>> 15), state | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
}

/** The first state of a stream: other names, other streams. */
export function stateOf(seed, name) {
  let state = seed | 0;
  for (const letter of `${name}`) state = Math.imul(state ^ letter.charCodeAt(0), 0x01000193);
  return Math.imul(state ^ (state >>> 16), 0x45d9f3b);
}

/** A stream as a function, like `Math.random`; its `state` may be read and set. */
export function streamOf(seed, name) {
  const stream = () => {
    stream.state = nextState(stream.state);
    stream.last = numberOf(stream.state);
    return stream.last;
  };
  stream.state = stateOf(seed, name);
  return stream;
}
