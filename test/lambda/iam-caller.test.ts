import { describe, expect, test } from '@jest/globals';
import { IamLogin } from '../../src/lambda/http-routes.js';
import { principalArn } from '../../src/peers/identities.js';
import { decideAccess, type Need } from '../../src/peers/policy.js';
import { fc } from '../support/properties.js';

const ROLE = 'arn:aws:iam::123456789012:role/orders';

describe('who an ARN stands for', () => {
  test.each([
    ['arn:aws:sts::123456789012:assumed-role/orders/i-0abc', ROLE],
    ['arn:aws:iam::123456789012:role/orders', ROLE],
    ['arn:aws:iam::123456789012:role/services/eu/orders', ROLE],
    [
      'arn:aws-us-gov:sts::123456789012:assumed-role/a/b',
      'arn:aws-us-gov:iam::123456789012:role/a',
    ],
    [
      'arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Admin_0a1b2c3d4e5f6a7b/ann@example.com',
      'arn:aws:iam::123456789012:role/AWSReservedSSO_Admin_0a1b2c3d4e5f6a7b',
    ],
    // Everything else stands for itself.
    ['arn:aws:iam::123456789012:user/path/ann', 'arn:aws:iam::123456789012:user/path/ann'],
    ['arn:aws:iam::123456789012:root', 'arn:aws:iam::123456789012:root'],
    [
      'arn:aws:sts::123456789012:federated-user/orders',
      'arn:aws:sts::123456789012:federated-user/orders',
    ],
    [
      'arn:aws:sts::123456789012:assumed-role/orders',
      'arn:aws:sts::123456789012:assumed-role/orders',
    ],
    ['', ''],
  ])('%s', (arn, principal) => {
    expect(principalArn(arn)).toBe(principal);
  });

  const name = fc.stringMatching(/^[\w+=,.@-]{1,64}$/);

  test('a session stands for its role, whatever its name is', () => {
    fc.assert(
      fc.property(name, name, fc.stringMatching(/^[0-9]{12}$/), (role, session, account) => {
        const arn = `arn:aws:sts::${account}:assumed-role/${role}/${session}`;
        expect(principalArn(arn)).toBe(`arn:aws:iam::${account}:role/${role}`);
      }),
    );
  });

  test('what it stands for stands for itself', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          name.map((role) => `${ROLE}/${role}`),
        ),
        (arn) => {
          expect(principalArn(principalArn(arn))).toBe(principalArn(arn));
        },
      ),
    );
  });
});

describe('a peer on the list', () => {
  const request = { method: 'GET', url: '/', headers: {}, remoteAddress: '', encrypted: true };
  const needs: readonly Need[] = [{ token: 'default' }, { role: 'admin' }];

  test.each<[string, readonly string[]]>([
    ['arn:aws:sts::123456789012:assumed-role/orders/x', ['token', 'admin']],
    ['arn:aws:iam::123456789012:user/ann', ['admin']],
    ['arn:aws:iam::123456789012:user/ann2', []],
  ])('%s has the roles %j', async (caller, granted) => {
    const login = new IamLogin({
      peers: [
        { arn: 'arn:aws:iam::123456789012:role/services/orders', roles: ['token'] },
        { arn: 'arn:aws:iam::123456789012:role/orders', roles: ['admin'] },
        { arn: 'arn:aws:iam::123456789012:user/ann', roles: ['admin'] },
      ],
      callerOf: () => caller,
      observer: {},
    });
    const result = await login.withHeader(request);
    const allowed = needs
      .filter((need) => 'peer' in result && decideAccess(result.peer, need) === 'granted')
      .map((need) => ('role' in need ? need.role : 'token'));
    expect(allowed).toEqual(granted);
    expect(login.now()).toBeUndefined();
  });
});
