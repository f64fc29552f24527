import { describe, expect, test } from '@jest/globals';
import { fc } from '../../support/properties.js';
import { randomBytes } from 'node:crypto';
import {
  Envelope,
  framed,
  sameCode,
  type SealedVersion,
  type VersionIdentity,
} from '../../../src/secrets/embedded/envelope.js';

const masterKey = randomBytes(32);
const storeId = randomBytes(16);
const envelope = new Envelope(masterKey, storeId);
const identity: VersionIdentity = { secretId: 'token', versionId: 'v1', createdAt: 17 };
const value = Buffer.from('the value');

function flipped(bytes: Buffer, bit: number): Buffer {
  const copy = Buffer.from(bytes);
  const at = bit % (copy.length * 8);
  copy.writeUInt8(copy.readUInt8(at >> 3) ^ (1 << (at & 7)), at >> 3);
  return copy;
}

describe('a sealed version', () => {
  test('opens to its value, for any value and identity', () => {
    const anyIdentity = fc.record({
      secretId: fc.string({ unit: 'binary' }),
      versionId: fc.string({ unit: 'binary' }),
      createdAt: fc.integer(),
    });
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), anyIdentity, (bytes, one) => {
        const opened = envelope.open(one, envelope.seal(one, bytes));
        expect(opened?.equals(bytes)).toBe(true);
      }),
    );
  });

  test('never looks the same twice, and does not contain the value', () => {
    const [one, two] = [envelope.seal(identity, value), envelope.seal(identity, value)];
    expect(one.wrappedKey.equals(two.wrappedKey)).toBe(false);
    expect(one.sealedValue.equals(two.sealedValue)).toBe(false);
    expect(one.sealedValue.includes(value)).toBe(false);
  });

  test('does not open after any single bit was changed', () => {
    const sealed = envelope.seal(identity, value);
    fc.assert(
      fc.property(fc.nat(10_000), fc.boolean(), (bit, inKey) => {
        const changed: SealedVersion = inKey
          ? { ...sealed, wrappedKey: flipped(sealed.wrappedKey, bit) }
          : { ...sealed, sealedValue: flipped(sealed.sealedValue, bit) };
        expect(envelope.open(identity, changed)).toBeUndefined();
      }),
      { numRuns: 500 },
    );
  });

  test('does not open when it is cut short, at any length', () => {
    const sealed = envelope.seal(identity, value);
    for (let length = 0; length < sealed.sealedValue.length; length += 1) {
      const sealedValue = sealed.sealedValue.subarray(0, length);
      expect(envelope.open(identity, { ...sealed, sealedValue })).toBeUndefined();
    }
    for (let length = 0; length < sealed.wrappedKey.length; length += 1) {
      const wrappedKey = sealed.wrappedKey.subarray(0, length);
      expect(envelope.open(identity, { ...sealed, wrappedKey })).toBeUndefined();
    }
  });

  test.each([
    ['another secret', { ...identity, secretId: 'other' }],
    ['another version', { ...identity, versionId: 'v2' }],
    ['another time', { ...identity, createdAt: 18 }],
    ['the border between the ids moved', { ...identity, secretId: 'tokenv', versionId: '1' }],
  ])('does not open as %s', (_, other) => {
    expect(envelope.open(other, envelope.seal(identity, value))).toBeUndefined();
  });

  test('does not open with parts of two versions, nor as another format', () => {
    const [one, two] = [envelope.seal(identity, value), envelope.seal(identity, value)];
    expect(envelope.open(identity, { ...one, wrappedKey: two.wrappedKey })).toBeUndefined();
    expect(envelope.open(identity, { ...one, format: 2 })).toBeUndefined();
  });

  test('does not open with another master key, nor in another store with the same one', () => {
    const sealed = envelope.seal(identity, value);
    expect(new Envelope(randomBytes(32), storeId).open(identity, sealed)).toBeUndefined();
    expect(new Envelope(masterKey, randomBytes(16)).open(identity, sealed)).toBeUndefined();
    expect(new Envelope(masterKey, storeId).open(identity, sealed)?.equals(value)).toBe(true);
  });
});

describe('codes', () => {
  test('the key check depends on the master key and the store', () => {
    expect(envelope.keyCheck.equals(new Envelope(masterKey, storeId).keyCheck)).toBe(true);
    expect(envelope.keyCheck.equals(new Envelope(randomBytes(32), storeId).keyCheck)).toBe(false);
    expect(envelope.keyCheck.equals(new Envelope(masterKey, randomBytes(16)).keyCheck)).toBe(false);
  });

  test('the label code does not depend on the order, and on everything else', () => {
    const labels = new Map([
      ['AWSCURRENT', 'a'],
      ['AWSPENDING', 'b'],
    ]);
    const code = envelope.labelCode('token', 3, labels);
    expect(envelope.labelCode('token', 3, new Map([...labels].toReversed())).equals(code)).toBe(
      true,
    );
    const others = [
      envelope.labelCode('other', 3, labels),
      envelope.labelCode('token', 4, labels),
      envelope.labelCode('token', 3, new Map([['AWSCURRENT', 'a']])),
      envelope.labelCode('token', 3, new Map([...labels, ['AWSPENDING', 'a']])),
      envelope.labelCode('token', 3, new Map([...labels, ['AWSPREVIOUS', 'c']])),
    ];
    for (const other of others) expect(other.equals(code)).toBe(false);
  });

  test('framing gives different bytes for different lists', () => {
    const lists = fc.array(fc.string({ unit: 'binary', maxLength: 4 }), { maxLength: 4 });
    fc.assert(
      fc.property(lists, lists, (one, two) => {
        const same = JSON.stringify(one) === JSON.stringify(two);
        expect(framed(one).equals(framed(two))).toBe(same);
      }),
    );
    expect(framed(['ab', 'c']).equals(framed(['a', 'bc']))).toBe(false);
  });

  test('sameCode compares content and length', () => {
    expect(sameCode(Buffer.from('ab'), Buffer.from('ab'))).toBe(true);
    expect(sameCode(Buffer.from('ab'), Buffer.from('ac'))).toBe(false);
    expect(sameCode(Buffer.from('ab'), Buffer.from('a'))).toBe(false);
  });
});
