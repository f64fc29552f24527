import { Readable } from 'node:stream';
import { describe, expect, test } from '@jest/globals';
import axios from 'axios';
import { isRepeatableBody } from '../../../src/client/attachment/send-attached.js';

function form(): FormData {
  const data = new FormData();
  data.set('file', new Blob(['content']), 'file.txt');
  return data;
}

describe('a body that can be sent twice', () => {
  test.each<[string, unknown]>([
    ['none', undefined],
    ['null', null],
    ['empty text', ''],
    ['text', 'text'],
    ['bytes', Buffer.from('bytes')],
    ['a view', new Uint8Array(4)],
    ['a buffer', new ArrayBuffer(4)],
    ['a blob', new Blob(['content'])],
    ['form data', form()],
    ['parameters', new URLSearchParams('a=1')],
  ])('%s', (_name, body) => {
    expect(isRepeatableBody(body)).toBe(true);
  });

  test.each<[string, unknown]>([
    ['a stream of Node', Readable.from(['a'])],
    ['a stream of the web', new Blob(['a']).stream()],
    ['form data that is a stream', axios.toFormData({ a: 1 })],
    ['a generator', (async function* bytes() {})()],
    ['an object', {}],
    ['a number', 7],
  ])('not %s', (_name, body) => {
    expect(isRepeatableBody(body)).toBe(false);
  });
});
