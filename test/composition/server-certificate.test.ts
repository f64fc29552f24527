import { rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import {
  CertificateWatch,
  endsSoon,
  readServerCertificate,
} from '../../src/composition/server-certificate.js';
import { BrokerError } from '../../src/tokens/errors.js';
import { makeCertificate, type MadeCertificate } from '../support/certificates.js';
import { temporaryFolders } from '../support/temporary-folder.js';
import { VirtualClock } from '../support/virtual-clock.js';

const DAY = 86_400_000;
const ONE = makeCertificate({ commonName: 'one', days: [-1, 100] });
const TWO = makeCertificate({ commonName: 'two', days: [-1, 200] });
const CA = makeCertificate({ commonName: 'authority', isAuthority: true });

const makeFolder = temporaryFolders('server-certificate');

async function setUp({ cert, key }: Pick<MadeCertificate, 'cert' | 'key'> = ONE, ca = CA.cert) {
  const folder = await makeFolder();
  const files = {
    certFile: join(folder, 'tls.crt'),
    keyFile: join(folder, 'tls.key'),
    clientCaFile: join(folder, 'ca.crt'),
  };
  await writeFile(files.certFile, cert);
  await writeFile(files.keyFile, key);
  await writeFile(files.clientCaFile, ca);
  const clock = new VirtualClock(Date.now());
  const told: string[] = [];
  const start = () =>
    CertificateWatch.start({
      files,
      clock,
      observer: {
        replaced: ({ subject }) => told.push(`replaced ${subject}`),
        unusable: (error) => told.push((error as Error).message.replaceAll(folder, '')),
        ending: ({ subject }, hasEnded) => told.push(`${subject} ${hasEnded ? 'ended' : 'ends'}`),
      },
    });
  return { folder, files, clock, told, start };
}

/** Two checks: files are read when they were the same twice. */
async function settle(watch: CertificateWatch): Promise<void> {
  await watch.check();
  await watch.check();
}

describe('at start', () => {
  test('the files are read', async () => {
    const { files } = await setUp();
    expect(await readServerCertificate(files, Date.now())).toMatchObject({
      subject: 'CN=one',
      certificate: ONE.cert,
      clientCa: CA.cert,
    });
    const { clientCa } = await readServerCertificate(
      { ...files, clientCaFile: undefined },
      Date.now(),
    );
    expect(clientCa).toBeUndefined();
  });

  test.each<[string, string, string, string, RegExp]>([
    [
      'another key',
      ONE.cert,
      TWO.key,
      CA.cert,
      /tls\.crt.*tls\.key.*belongs to another certificate/,
    ],
    ['no certificate', 'canary', ONE.key, CA.cert, /not a certificate in PEM/],
    ['an empty certificate', '', ONE.key, CA.cert, /not a certificate in PEM/],
    ['half a key', ONE.cert, ONE.key.slice(0, 100), CA.cert, /not a private key in PEM/],
    ['no authority', ONE.cert, ONE.key, 'canary', /ca\.crt.*not certificates in PEM/],
    ['half an authority', ONE.cert, ONE.key, CA.cert.slice(0, 200), /not certificates in PEM/],
    [
      'an authority and a half',
      ONE.cert,
      ONE.key,
      CA.cert + CA.cert.slice(0, 200),
      /not certificates in PEM/,
    ],
    [
      'a damaged authority',
      ONE.cert,
      ONE.key,
      CA.cert.replace(/[A-Za-z0-9+/]{20}/, 'A'.repeat(20)),
      /damaged/,
    ],
  ])('%s is a mistake', async (_what, cert, key, ca, says) => {
    const { start } = await setUp({ cert, key }, ca);
    const error = await start().catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(BrokerError);
    expect(error).toMatchObject({
      code: 'TLS_FILES_INVALID',
      kind: 'misconfigured',
      message: expect.stringMatching(says),
    });
    expect((error as Error).message).not.toMatch(/canary|PRIVATE/);
  });

  test('an expired one, one that is not there, and a folder', async () => {
    const { files, start, clock } = await setUp();
    clock.advance(101 * DAY);
    await expect(start()).rejects.toThrow(/it expired at/);
    await rm(files.certFile);
    await expect(start()).rejects.toThrow(
      /tls\.crt cannot be read \(ENOENT\).*BROKER_TLS_CERT_FILE/,
    );
    await writeFile(files.certFile, ONE.cert);
    const folder = join(files.certFile, '..');
    await expect(readServerCertificate({ ...files, keyFile: folder }, 0)).rejects.toThrow(
      /not a regular file.*BROKER_TLS_KEY_FILE/,
    );
  });
});

describe('while it runs', () => {
  test('nothing happens while nothing changes', async () => {
    const { start, told } = await setUp();
    const watch = await start();
    await settle(watch);
    expect(told).toEqual([]);
  });

  test('a half-written pair changes nothing until it is whole', async () => {
    const { files, start, told } = await setUp();
    const watch = await start();
    await writeFile(files.certFile, TWO.cert.slice(0, 100));
    await settle(watch);
    expect(watch.current.subject).toBe('CN=one');
    expect(told).toEqual([expect.stringContaining('not a certificate in PEM')]);
    await writeFile(files.certFile, TWO.cert);
    await settle(watch);
    expect(told[1]).toMatch(/belongs to another certificate/);
    expect(watch.current.key).toBe(ONE.key);
    await writeFile(files.keyFile, TWO.key);
    await settle(watch);
    expect(told.slice(2)).toEqual(['replaced CN=two']);
    expect(watch.current).toMatchObject({ key: TWO.key, certificate: TWO.cert });
  });

  test('a file that is finished within the same tick of its clock is read', async () => {
    const { files, start, told } = await setUp();
    const watch = await start();
    const at = new Date(Date.now() + 5_000);
    const damaged = TWO.cert.replace('CERTIFICATE', 'CERTIFICATX');
    await writeFile(files.keyFile, TWO.key);
    await writeFile(files.certFile, damaged);
    await utimes(files.certFile, at, at);
    await settle(watch);
    await writeFile(files.certFile, TWO.cert);
    await utimes(files.certFile, at, at);
    await watch.check();
    expect(told.at(-1)).toBe('replaced CN=two');
  });

  test('files that are being written are left alone; a request reads them at once', async () => {
    const { files, start, told } = await setUp();
    const watch = await start();
    await settle(watch);
    // Another size each time, whatever the resolution of the file's times.
    for (const length of [100, 200, 300]) {
      await writeFile(files.certFile, TWO.cert.slice(0, length));
      await watch.check();
    }
    await writeFile(files.certFile, TWO.cert);
    await watch.check();
    await writeFile(files.keyFile, TWO.key);
    await watch.check();
    expect(told).toEqual([]);
    await watch.reread();
    expect(told).toEqual(['replaced CN=two']);
    await settle(watch);
    expect(told).toHaveLength(1);
  });

  test('a pair that is valid from later on is used when its time has come', async () => {
    const { files, start, told, clock } = await setUp();
    const watch = await start();
    const early = makeCertificate({ commonName: 'early', days: [2, 50] });
    await writeFile(files.certFile, early.cert);
    await writeFile(files.keyFile, early.key);
    await settle(watch);
    expect(told).toEqual([expect.stringMatching(/valid/)]);
    clock.advance(3 * DAY);
    await watch.check();
    expect(told.slice(1)).toEqual(['replaced CN=early']);
  });

  test('files that are gone, authorities that are not, and an expired pair change nothing', async () => {
    const { files, start, told } = await setUp();
    const watch = await start();
    await rm(files.certFile);
    await settle(watch);
    await writeFile(files.certFile, ONE.cert);
    await settle(watch);
    await writeFile(files.clientCaFile, '');
    await settle(watch);
    await writeFile(files.clientCaFile, CA.cert);
    await settle(watch);
    const expired = makeCertificate({ commonName: 'expired', days: [-3, -1] });
    await writeFile(files.certFile, expired.cert);
    await writeFile(files.keyFile, expired.key);
    await settle(watch);
    expect(told).toEqual([
      expect.stringMatching(/ENOENT/),
      expect.stringMatching(/not certificates in PEM/),
      expect.stringMatching(/it expired at/),
    ]);
    expect(watch.current).toMatchObject({ subject: 'CN=one', clientCa: CA.cert });
  });

  test('other authorities are used', async () => {
    const { files, start, told } = await setUp();
    const watch = await start();
    await writeFile(files.clientCaFile, CA.cert + ONE.cert);
    await settle(watch);
    expect(told).toEqual(['replaced CN=one']);
    expect(watch.current.clientCa).toBe(CA.cert + ONE.cert);
  });

  test('a link that leads to other files, as in Kubernetes', async () => {
    const { folder, files, clock, start, told } = await setUp();
    for (const [name, made] of [
      ['a', ONE],
      ['b', TWO],
    ] as const) {
      await writeFile(join(folder, `${name}.crt`), made.cert);
      await writeFile(join(folder, `${name}.key`), made.key);
    }
    const point = async (name: string): Promise<void> => {
      for (const [file, end] of [
        [files.certFile, 'crt'],
        [files.keyFile, 'key'],
      ] as const) {
        await symlink(join(folder, `${name}.${end}`), `${file}.new`);
        await rename(`${file}.new`, file);
      }
    };
    await point('a');
    clock.advance(0);
    const watch = await start();
    await point('b');
    await settle(watch);
    expect(told).toEqual(['replaced CN=two']);
  });

  test('its end is told two weeks before, and when it has come, once each', async () => {
    const { start, told, clock, files } = await setUp();
    const watch = await start();
    const checkAfter = async (days: number): Promise<void> => {
      clock.advance(days * DAY);
      await settle(watch);
      await settle(watch);
    };
    await checkAfter(85);
    expect(told).toEqual([]);
    await checkAfter(2);
    expect(told).toEqual(['CN=one ends']);
    await checkAfter(14);
    expect(told).toEqual(['CN=one ends', 'CN=one ended']);
    await writeFile(files.keyFile, TWO.key);
    await writeFile(files.certFile, TWO.cert);
    await checkAfter(0);
    expect(told.slice(2)).toEqual(['replaced CN=two']);
  });
});

test.each([
  [90 * DAY, 15 * DAY, false],
  [90 * DAY, 13 * DAY, true],
  // An hour, as SPIRE issues them.
  [DAY / 24, DAY / 48, false],
  [DAY / 24, DAY / 144, true],
  [DAY, 0, true],
  [DAY, -1, true],
])('of a life of %d ms, %d are left: it ends soon is %p', (life, left, isSoon) => {
  expect(endsSoon({ startsAt: 0, endsAt: life }, life - left)).toBe(isSoon);
});
