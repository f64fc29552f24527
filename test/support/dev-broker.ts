import { expect } from '@jest/globals';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  createRemoteKeySet,
  createTokenVerifier,
  type VerifiedToken,
} from '../../src/verification/index.js';
import { startBroker, type BrokerProcess } from './broker-process.js';

const AUDIENCE = 'https://services.example.test';

/** A broker in dev mode, as `npm start` runs it, in a process of its own. */
export interface DevBroker extends BrokerProcess {
  /** The peer `demo`, as its file says. */
  readonly peer: { readonly id: string; readonly secret: string };
  /** Verifies a token as a receiver does, by the embedded provider's JWKS. */
  verify(token: string): Promise<VerifiedToken>;
}

/** @param dataDir the data folder; made when it does not exist. */
export async function startDevBroker(dataDir: string): Promise<DevBroker> {
  const broker = await startBroker(['dev'], {
    BROKER_DATA_DIR: dataDir,
    BROKER_AUDIENCE: AUDIENCE,
  });
  const peer = JSON.parse(await readFile(join(dataDir, 'demo-peer.json'), 'utf8')) as {
    id: string;
    secret: string;
  };
  expect(peer).toEqual({ id: 'demo', secret: expect.stringMatching(/^[\w-]{43}$/) });
  const { providerUrl } = broker;
  const keys = createRemoteKeySet({ jwksUri: `${providerUrl}/jwks` });
  const verifier = createTokenVerifier({
    issuers: [{ issuer: providerUrl, audiences: AUDIENCE, profile: 'rfc9068', keys }],
  });
  return { ...broker, peer, verify: (token) => verifier.verify(token) };
}
