import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { examineTls } from '../../../src/cli/doctor/doctor.js';
import { makeCertificate } from '../../support/certificates.js';
import { temporaryFolders } from '../../support/temporary-folder.js';
import { VirtualClock } from '../../support/virtual-clock.js';

const makeFolder = temporaryFolders('tls-files');

test('doctor says how long the certificate lives, and warns when it should have been renewed', async () => {
  const folder = await makeFolder();
  const { cert, key } = makeCertificate({ commonName: 'broker', days: [-1, 90] });
  const files = {
    certFile: join(folder, 'a'),
    keyFile: join(folder, 'b'),
    clientCaFile: undefined,
  };
  await writeFile(files.certFile, cert);
  await writeFile(files.keyFile, key);
  const clock = new VirtualClock(Date.now());
  expect(await examineTls(files, clock)).toMatchObject({
    state: 'ok',
    message: expect.stringMatching(/^CN=broker, valid until .*: none is asked for\.$/),
  });
  clock.advance(80 * 86_400_000);
  const late = await examineTls({ ...files, clientCaFile: files.certFile }, clock);
  expect(late).toMatchObject({
    state: 'warning',
    message: expect.stringMatching(/authorities can be read/),
  });
  clock.advance(20 * 86_400_000);
  await expect(examineTls(files, clock)).rejects.toMatchObject({ code: 'TLS_FILES_INVALID' });
});
