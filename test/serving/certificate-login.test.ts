import { Socket } from 'node:net';
import { describe, expect, test } from '@jest/globals';
import { certificateIdentity } from '../../src/peers/certificate-names.js';
import { IdentityTable, type WorkloadIdentity } from '../../src/peers/identities.js';
import { CertificateLogin } from '../../src/serving/certificate-login.js';
import { systemClock } from '../../src/tokens/time.js';
import { fc } from '../support/properties.js';

describe('known and unknown names', () => {
  const NAMES = fc.constantFrom('settle', 'batch', 'off', 'nobody', 'x');
  const uriOf = (name: string): string => `spiffe://prod.example.com/${name}`;
  const peers = ['settle', 'batch', 'off'].map((id) => ({
    id,
    roles: [],
    tokens: ['default'],
    enabled: id !== 'off',
    identities: [certificateIdentity('uri', uriOf(id)) as WorkloadIdentity],
  }));

  /** Every look-up in it is counted. */
  class CountedTable extends IdentityTable {
    lookups = 0;
    override find(issuer: string, subject: string) {
      this.lookups += 1;
      return super.find(issuer, subject);
    }
  }

  test('cost one look-up each, whoever they are', () => {
    fc.assert(
      fc.property(fc.array(NAMES, { maxLength: 6 }), (names) => {
        const table = new CountedTable(peers);
        const login = new CertificateLogin({
          filePeers: { current: { workloadTokens: undefined, certificates: table } },
          trustsServerOf: () => false,
          trustsProxy: () => true,
          clock: systemClock,
        });
        const header = names.map((name) => `URI=${uriOf(name)}`).join(';');
        const proof = login.proofOf({
          connection: new Socket(),
          headers: { 'x-forwarded-client-cert': [`By=x;${header}`] },
        });
        expect(proof).toBeDefined();
        expect(table.lookups).toBe(names.length);
      }),
    );
  });
});
