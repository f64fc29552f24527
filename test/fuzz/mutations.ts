import { fc } from '../support/properties.js';

/** What stands in a seed where a secret would: no error may show any of it. */
export const CANARY = 'c4n4rYqX7vK2mZ9wT5bL8jH3gF6dS1pR0uYtEoN2';

/** What breaks parsers, whatever they parse. */
const COMMON: readonly string[] = [
  '"',
  "'",
  '\\',
  '\\"',
  '\\u0000',
  '\\ud800',
  '{',
  '}',
  '[',
  ']',
  '{}',
  '[]',
  ':',
  ',',
  ';',
  '=',
  '&',
  '%',
  '%zz',
  '%C3%28',
  '%00',
  '+',
  '/',
  '..',
  '.',
  '*',
  '@',
  '#',
  '?',
  '-',
  '_',
  ' ',
  '\t',
  '\0',
  '\r\n',
  '\n',
  '\u007f',
  '\u0085',
  '\u2028',
  '\ufeff',
  '\u200b',
  'é',
  '😀',
  'ﬀ',
  'İ',
  'K',
  'null',
  'true',
  'false',
  '0',
  '-0',
  '-1',
  '1e400',
  '1e-400',
  '0x10',
  'NaN',
  'Infinity',
  '9007199254740993',
  '99999999999999999999',
  '2147483648',
  '253402300800',
  '1.5',
  '__proto__',
  '"__proto__":{"polluted":1},',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
];

/** In place of one value of a JSON text. */
const VALUES: readonly string[] = [
  'null',
  'true',
  '0',
  '-1',
  '1.5',
  '1e400',
  '99999999999999999999',
  '""',
  '" "',
  '"x"',
  '[]',
  '{}',
  '[[]]',
  '[null]',
  '[""]',
  '["a","a"]',
  '{"a":1,"a":2}',
  '{"__proto__":{"polluted":1}}',
  '"\\u0000"',
  '"\\ud800"',
  `"${'a'.repeat(300)}"`,
  '"2026-11-29T00:00:00Z"',
  '"+275760-09-13T00:00:00Z"',
  `${'['.repeat(40)}${']'.repeat(40)}`,
  `${'{"a":'.repeat(40)}1${'}'.repeat(40)}`,
  '"constructor"',
];

/** One change. Positions are fractions of 2^16, so that they mean the same place while an input is made smaller. */
type Change =
  | { readonly kind: 'flip'; readonly at: number; readonly bit: number }
  | { readonly kind: 'insert'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'overwrite'; readonly at: number; readonly bytes: Uint8Array }
  | { readonly kind: 'word'; readonly at: number; readonly word: number }
  | { readonly kind: 'value'; readonly at: number; readonly value: number }
  | { readonly kind: 'delete'; readonly at: number; readonly length: number }
  | {
      readonly kind: 'repeat';
      readonly at: number;
      readonly length: number;
      readonly times: number;
    }
  | { readonly kind: 'splice'; readonly at: number; readonly from: number; readonly seed: number }
  | { readonly kind: 'end'; readonly at: number };

const place = fc.nat(65_535);
const bytes = fc.uint8Array({ minLength: 1, maxLength: 6 });

const change: fc.Arbitrary<Change> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('flip' as const), at: place, bit: fc.nat(7) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('insert' as const), at: place, bytes }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('overwrite' as const), at: place, bytes }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('word' as const), at: place, word: fc.nat(9_999) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('value' as const), at: place, value: fc.nat(999) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('delete' as const), at: place, length: fc.nat(40) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('repeat' as const),
      at: place,
      length: fc.integer({ min: 1, max: 60 }),
      times: fc.integer({ min: 1, max: 20 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('splice' as const),
      at: place,
      from: place,
      seed: fc.nat(9_999),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('end' as const), at: place }) },
);

/** How an input is made: of one valid input by some changes, or of nothing but chance. */
export type Recipe =
  { readonly seed: number; readonly changes: readonly Change[] } | { readonly random: Uint8Array };

export const recipes: fc.Arbitrary<Recipe> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      seed: fc.nat(9_999),
      changes: fc.array(change, { minLength: 1, maxLength: 6 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ random: fc.uint8Array({ maxLength: 200 }) }) },
);

/** The longest input: what grows further is about time, which is measured by itself. */
const LONGEST = 100_000;

/** The input of a recipe. @param words what means something in this grammar, besides {@link COMMON}. */
export function cook(recipe: Recipe, seeds: readonly Buffer[], words: readonly Buffer[]): Buffer {
  if ('random' in recipe) return Buffer.from(recipe.random);
  let input = seedAt(seeds, recipe.seed);
  for (const step of recipe.changes) input = changed(input, step, seeds, words);
  return input.subarray(0, LONGEST);
}

export function dictionary(words: readonly string[]): readonly Buffer[] {
  return [...words, ...words, ...COMMON].map((word) => Buffer.from(word));
}

function changed(
  input: Buffer,
  step: Change,
  seeds: readonly Buffer[],
  words: readonly Buffer[],
): Buffer {
  const at = Math.floor((step.at * (input.length + 1)) / 65_536);
  const put = (middle: Uint8Array, end = at): Buffer =>
    Buffer.concat([input.subarray(0, at), middle, input.subarray(end)]);
  switch (step.kind) {
    case 'flip': {
      const copy = Buffer.from(input);
      if (at < copy.length) copy[at] = (copy[at] ?? 0) ^ (1 << step.bit);
      return copy;
    }
    case 'insert':
      return put(step.bytes);
    case 'overwrite':
      return put(step.bytes, at + step.bytes.length);
    case 'word':
      return put(words[step.word % words.length] ?? Buffer.alloc(0));
    case 'value':
      return withValue(input, step.at, VALUES[step.value % VALUES.length] ?? 'null');
    case 'delete':
      return put(Buffer.alloc(0), at + step.length);
    case 'repeat': {
      const piece = input.subarray(at, at + step.length);
      return put(Buffer.concat(Array.from({ length: step.times }, () => piece)));
    }
    case 'splice': {
      const other = seedAt(seeds, step.seed);
      return put(
        other.subarray(Math.floor((step.from * (other.length + 1)) / 65_536)),
        input.length,
      );
    }
    case 'end':
      break;
  }
  return input.subarray(0, at);
}

const SCALAR = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|\btrue\b|\bfalse\b|\bnull\b/g;

/** With another value, or another name, in place of one in a JSON text; unchanged when it is none. */
function withValue(input: Buffer, at: number, value: string): Buffer {
  const text = input.toString('latin1');
  const found = [...text.matchAll(SCALAR)];
  const chosen = found[Math.floor((at * found.length) / 65_536)];
  if (chosen === undefined) return input;
  const end = chosen.index + chosen[0].length;
  return Buffer.concat([input.subarray(0, chosen.index), Buffer.from(value), input.subarray(end)]);
}

function seedAt(seeds: readonly Buffer[], number: number): Buffer {
  return seeds[number % seeds.length] ?? Buffer.alloc(0);
}
