import { expect, test } from '@jest/globals';
import { AxiosHeaders } from 'axios';
import {
  putAuthorization,
  removeAuthorization,
} from '../../../src/client/attachment/axios-request.js';

test('the header is there as if axios had set it, and gone afterwards, under any name', () => {
  const headers = new AxiosHeaders({ Accept: 'application/json', 'X-Own': '1' });
  putAuthorization(headers, 'Bearer a.b.c');
  expect(headers.get('authorization')).toBe('Bearer a.b.c');
  expect(headers.toJSON()).toEqual(
    new AxiosHeaders({ Accept: 'application/json', 'X-Own': '1' })
      .set('Authorization', 'Bearer a.b.c')
      .toJSON(),
  );
  headers.normalize(true);
  Object.assign(headers, { AUTHORIZATION: 'Bearer d.e.f' });
  removeAuthorization(headers);
  expect(headers.toJSON()).toEqual({ Accept: 'application/json', 'X-Own': '1' });
});

test('headers that are kept in another way are set in theirs', () => {
  const kept = new Map<string, string>();
  const headers = {
    has: (name: string) => kept.has(name),
    set: (name: string, value: string) => kept.set(name, value),
    delete: (name: string) => kept.delete(name),
  };
  putAuthorization(headers, 'Bearer a.b.c');
  expect([...kept]).toEqual([['Authorization', 'Bearer a.b.c']]);
  removeAuthorization(headers);
  expect(kept.size).toBe(0);
});
