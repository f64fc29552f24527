import { fileURLToPath } from 'node:url';
import { expect, test } from '@jest/globals';
import { tooManyOpenFiles } from '../../src/cli/start-errors.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const thrown = (code: string, message = ''): Error => Object.assign(new Error(message), { code });
const denied = (folder: string): Error =>
  thrown(
    'ERR_MODULE_NOT_FOUND',
    `Cannot find package '${root}${folder}/index.js' imported from /app/dist/serve.js`,
  );

test.each([
  ['the limit of the process', thrown('EMFILE'), 'this process'],
  ['the limit of the machine', thrown('ENFILE'), 'this machine'],
  ['a package that is there, but was not read', denied('node_modules/jose'), 'this process'],
])('%s', (_, error, whose) => {
  expect(tooManyOpenFiles(error)).toMatch(
    new RegExp(`^The limit of open files of ${whose} is reached\\. Allow at least 1024`),
  );
});

test.each([
  ['a package that is not there', denied('node_modules/never-installed')],
  ['a file that is not there', thrown('ENOENT')],
  ['no error', 'EMFILE'],
])('%s is not about open files', (_, error) => {
  expect(tooManyOpenFiles(error)).toBeUndefined();
});
