import { describe, expect, test } from '@jest/globals';
import {
  clientAsSubject,
  foreignMark,
  isMarkedAsAccessToken,
  isMeantForItsClient,
  isSenderConstrained,
  machineMark,
  personMark,
} from '../../../src/verification/profiles/marks.js';

type Claims = Readonly<Record<string, unknown>>;
const ID = '01h2xcejqtf2nbrexx3vqjhp41';

describe('what only a machine has', () => {
  const name = '"sub" is a machine\'s name';
  const grant = '"gty" is client credentials';
  const jti = '"jti" is of client credentials';
  test.each<[Claims, string]>([
    [{ sub: 'abc@clients' }, name],
    [{ sub: 'service-account-orders' }, name],
    [{ sub: 'Service-Account-orders' }, name],
    [{ sub: 'system:serviceaccount:shop:orders' }, name],
    [{ sub: '(age!orders)' }, name],
    [{ sub: 'ak-orders-client_credentials' }, name],
    [{ sub: 'spiffe://prod.example.com/orders' }, name],
    [{ sub: 'orders@project.iam.gserviceaccount.com' }, name],
    [{ sub: `client_${ID}` }, name],
    [{ email: 'orders@project.iam.gserviceaccount.com' }, '"email" is a machine\'s name'],
    [{ sub: ['ann', 'abc@clients'] }, name],
    [{ gty: 'client-credentials' }, grant],
    [{ gty: 'Client_Credentials' }, grant],
    [{ gty: ['client_credentials'] }, grant],
    [{ grant_type: 'client_credentials' }, '"grant_type" is client credentials'],
    [{ grantType: 'client_credentials' }, '"grantType" is client credentials'],
    [{ idtyp: 'app' }, '"idtyp" is "app"'],
    [{ idtyp: 'APP' }, '"idtyp" is "app"'],
    [{ aut: 'APPLICATION' }, '"aut" is "APPLICATION"'],
    [{ aut: 'application' }, '"aut" is "APPLICATION"'],
    [{ jti: 'trrtcc:6f1c' }, jti],
    [{ jti: 'onltcc:6f1c' }, jti],
    [{ jti: 'ofuncc:6f1c' }, jti],
    [{ clientHost: '' }, '"clientHost" is present'],
    [{ clientAddress: '10.0.0.1' }, '"clientAddress" is present'],
    [{ sub: 'x', oid: 'x' }, '"oid" is the value of "sub"'],
    [{ typ: 'Bearer', azp: 'a', client_id: 'a' }, '"client_id" repeats "azp", and no login shows'],
    [{ typ: 'DPoP', azp: 'a', clientId: 'a' }, '"client_id" repeats "azp", and no login shows'],
    [{ ext: { gty: 'client-credentials' } }, grant],
  ])('%j: %s', (claims, mark) => {
    expect(machineMark(claims)).toBe(mark);
  });

  test.each<Claims>([
    {},
    { sub: 'abc@clients.example.com' },
    { sub: 'my-service-account-orders' },
    { sub: 'a system:serviceaccount:shop:orders' },
    { sub: 'a(age!orders)' },
    { sub: 'break-orders-client_credentials' },
    { sub: 'ak-client_credentials' },
    { sub: 'ak-orders-client_credentials-2' },
    { sub: 'a spiffe://prod.example.com/orders' },
    { sub: 'orders@project.iam.gserviceaccount.com.example' },
    { sub: 'ordersXgserviceaccountXcom' },
    { sub: `my-client_${ID}` },
    { sub: `client_${ID}0` },
    { sub: 'client_1' },
    { sub: 1 },
    { gty: 'password' },
    { gty: [1, null] },
    { idtyp: 'user' },
    { aut: 'APPLICATION_USER' },
    { jti: 'trrtac:6f1c' },
    { jti: 'xtrrtcc:6f1c' },
    { jti: 'rrtcc:6f1c' },
    { jti: '12rtcc:6f1c' },
    { jti: 'trrtcc' },
    { sub: 'x', oid: 'y' },
    { sub: 'x', oid: 'x', scp: 'read' },
    { oid: 'x' },
    { azp: 'a', client_id: 'a' },
    { typ: 'Bearer', azp: 'a', client_id: 'b' },
    { typ: 'Bearer', azp: 'a' },
    { typ: 'Bearer' },
    { typ: 'Bearer', azp: 'a', client_id: 'a', preferred_username: 'ann' },
    { typ: 'Bearer', azp: 'a', client_id: 'a', sid: '1' },
    { typ: 'Bearer', azp: 'a', client_id: 'a', auth_time: 1 },
    { ext: 'client-credentials' },
    { ext: {} },
  ])('%j has no such mark', (claims) => {
    expect(machineMark(claims)).toBeUndefined();
  });
});

describe('what only a person has', () => {
  const sub = '"sub" is a person\'s';
  test.each<[Claims, string]>([
    [{ scope: 'openid' }, '"scope" has the scope of a login'],
    [{ scope: 'read openid write' }, '"scope" has the scope of a login'],
    [{ scope: 'read offline' }, '"scope" has the scope of a login'],
    [{ scope: 'offline_access read' }, '"scope" has the scope of a login'],
    [{ scp: ['read', 'openid'] }, '"scp" has the scope of a login'],
    ...[
      'authorization_code',
      'Authorization-Code',
      'password',
      'implicit',
      'refresh_token',
      'device_code',
      'urn:ietf:params:oauth:grant-type:device_code',
      'urn:openid:params:grant-type:ciba',
    ].map((gty): [Claims, string] => [{ gty }, '"gty" is the grant of a login']),
    [{ grant_type: ['password'] }, '"grant_type" is the grant of a login'],
    [{ grantType: 'password' }, '"grantType" is the grant of a login'],
    [{ idtyp: 'User' }, '"idtyp" is "user"'],
    [{ sub: '(usr!ann)' }, sub],
    [{ sub: 'kp_1' }, sub],
    [{ sub: `user_${ID}` }, sub],
    [{ sub: 'auth0|6f1c' }, sub],
    [{ sub: 'google-oauth2|6f1c' }, sub],
    [{ jti: 'onrtac:6f1c' }, '"jti" is of a login'],
    [{ jti: 'onltro:6f1c' }, '"jti" is of a login'],
    [{ uid: '00u1abc' }, '"uid" is a person\'s'],
    [{ token_use: 'access', username: 'ann' }, '"username" is present'],
    [{ scp: 'read', oid: 'x' }, '"scp" stands beside "oid"'],
  ])('%j: %s', (claims, mark) => {
    expect(personMark(claims)).toBe(mark);
  });

  test.each<Claims>([
    {},
    { scope: 'myopenid' },
    { scope: 'openid2 offline_accesses' },
    { scope: 'read.openid' },
    { gty: 'client_credentials' },
    { gty: '' },
    { idtyp: 'app' },
    { sub: 'a(usr!ann)' },
    { sub: 'my-kp_1' },
    { sub: `my-user_${ID}` },
    { sub: `user_${ID}0` },
    { sub: 'user_1' },
    { sub: '|6f1c' },
    { sub: 'a b|6f1c' },
    { jti: 'onrtcc:6f1c' },
    { jti: 'xonrtac:6f1c' },
    { jti: 'nrtac:6f1c' },
    { jti: '12rtac:6f1c' },
    { uid: 'x00u' },
    { token_use: 'access' },
    { username: 'ann' },
    { scp: 'read' },
    { scp: ['read'], oid: 'x' },
    { oid: 'x' },
  ])('%j has no such mark', (claims) => {
    expect(personMark(claims)).toBeUndefined();
  });
});

describe('what no access token has', () => {
  const id = (name: string): string =>
    `"${name}" belongs to an ID token or another token that is no access token`;
  const typ = 'the payload\'s "typ" names a token that is no access token';
  test.each<[Claims, string]>([
    ...['nonce', 'at_hash', 'c_hash', 's_hash', 'events'].map((name): [Claims, string] => [
      { [name]: 'x' },
      id(name),
    ]),
    [{ typ: 'Bearer', at_hash: 'x' }, id('at_hash')],
    [{ typ: 'Bearer', nonce: 'x', c_hash: 'x' }, id('c_hash')],
    ...['ID', 'id_token', 'id+jwt', 'Serialized-ID', 'Refresh', 'Offline', 'Logout'].map(
      (value): [Claims, string] => [{ typ: value }, typ],
    ),
    ...['logout+jwt', 'InitialAccessToken', 'RegistrationAccessToken'].map(
      (value): [Claims, string] => [{ typ: value }, typ],
    ),
    [{ tokenName: 'id_token', nonce: 'x' }, id('nonce')],
    [{ tokenName: ['access_token'], nonce: 'x' }, id('nonce')],
    [{ tokenName: 'access_token', nonce: 'x', at_hash: 'x' }, id('at_hash')],
    [{ tokenName: 'refresh_token' }, '"tokenName" names a token that is no access token'],
    [{ token_type: 'id_token' }, '"token_type" names a token that is no access token'],
    [{ purpose: 'id' }, '"purpose" names a token that is no access token'],
    [{ token_use: 'id' }, '"token_use" is not "access"'],
    [{ token_use: 1 }, '"token_use" is not "access"'],
    [{ sub: 'x', iss: 'x' }, '"sub" is the issuer itself, as in a client assertion'],
  ])('%j: %s', (claims, mark) => {
    expect(foreignMark(claims)).toBe(mark);
  });

  test.each<Claims>([
    {},
    { typ: 'Bearer' },
    { typ: 'Bearer', nonce: 'x' },
    { typ: 'dpop', nonce: 'x' },
    { typ: 'identity' },
    { tokenName: 'access_token' },
    { tokenName: 'access_token', nonce: 'x' },
    { token_type: 'Bearer' },
    { token_use: 'access' },
    { sub: 'x', iss: 'y' },
    { iss: 'y' },
  ])('%j has no such mark', (claims) => {
    expect(foreignMark(claims)).toBeUndefined();
  });

  test('a nonce alone is none where the profile knows an access token', () => {
    expect(foreignMark({ nonce: 'x' }, true)).toBeUndefined();
    expect(foreignMark({ nonce: 'x', c_hash: 'x' }, true)).toBe(id('c_hash'));
    expect(foreignMark({ nonce: 'x', typ: 'ID' }, true)).toBe(typ);
  });
});

test.each<[Claims, boolean]>([
  [{}, false],
  [{ cnf: { jkt: 'x' } }, true],
  [{ cnf: 'x' }, true],
  // As if it were absent.
  [{ cnf: null }, false],
  [{ typ: 'DPoP' }, true],
  [{ typ: 'Bearer' }, false],
])('%j is bound to a key: %p', (claims, isBound) => {
  expect(isSenderConstrained(claims)).toBe(isBound);
});

test.each<[Claims, string | undefined]>([
  [{}, undefined],
  [{ aud: 'a' }, undefined],
  [{ sub: 'a', client_id: 'b', aud: 'b' }, undefined],
  [{ sub: 'a', client_id: 'a' }, '"sub" is the value of "client_id"'],
  [{ sub: 'a', azp: 'a' }, '"sub" is the value of "azp"'],
  [{ sub: 'a', aud: 'a' }, '"sub" is in "aud"'],
  [{ sub: 'a', aud: ['b', 'a'] }, '"sub" is in "aud"'],
])('%j: %p', (claims, mark) => {
  expect(clientAsSubject(claims)).toBe(mark);
});

test.each<[Claims, string | undefined, boolean]>([
  [{}, undefined, false],
  [{}, 'a', false],
  [{ aud: [] }, 'a', false],
  [{ aud: 'a' }, 'a', true],
  [{ aud: ['b', 'a'] }, 'a', true],
  [{ aud: 'b' }, 'a', false],
  [{ aud: 'a' }, undefined, false],
  [{ aud: 'a', client_id: 'a' }, undefined, true],
  [{ aud: 'a', azp: 'a' }, 'b', true],
  [{ aud: 'a', client_id: 'b', azp: 'c' }, 'd', false],
  [{ client_id: 'b' }, 'b', false],
])('%j with the client %p is meant for its client: %p', (claims, clientId, isMeant) => {
  expect(isMeantForItsClient(claims, clientId)).toBe(isMeant);
});

test.each<[Claims, string | undefined, boolean]>([
  [{}, undefined, false],
  [{}, 'jwt', false],
  [{}, 'at+jwt', true],
  [{ typ: 'Bearer' }, undefined, true],
  [{ typ: 'DPoP' }, undefined, true],
  [{ typ: 'ID' }, undefined, false],
  [{ token_use: 'access' }, undefined, true],
  [{ token_use: 'id' }, undefined, false],
  [{ tokenName: 'access_token' }, undefined, true],
  [{ tokenName: 'id_token' }, undefined, false],
  [{ scope: '' }, undefined, true],
  [{ scp: [] }, undefined, true],
  [{ gty: 'x' }, undefined, true],
  [{ idtyp: 'x' }, undefined, true],
  [{ azpacr: '1' }, undefined, true],
  [{ appidacr: '1' }, undefined, true],
])('%j with the header type %p is marked as an access token: %p', (claims, type, isMarked) => {
  expect(isMarkedAsAccessToken(claims, type)).toBe(isMarked);
});
