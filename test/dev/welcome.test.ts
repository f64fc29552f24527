import { describe, expect, test } from '@jest/globals';
import { tryLines, type Running } from '../../src/dev/dev-mode.js';

const usual: Running = {
  url: 'http://127.0.0.1:3000',
  issuer: 'http://127.0.0.1:3001',
  dataDir: '.broker',
  command: 'dist/cli.js',
};
const files = { peer: '/data/demo-peer.json', customerApp: '/data/dev-customer-app.json' };

describe('the line for the command line beside dev mode', () => {
  test.each<[string, Partial<Running>, string]>([
    ['as usual', {}, 'node dist/cli.js status'],
    ['another port', { url: 'http://127.0.0.1:4000' }, 'PORT=4000 node dist/cli.js status'],
    [
      'the port that URLs leave out',
      { url: 'http://127.0.0.1' },
      'PORT=80 node dist/cli.js status',
    ],
    ['the same, as it is printed', { url: 'http://[::1]:80' }, 'PORT=80 node dist/cli.js status'],
    ['a path of Windows', { command: 'dist\\cli.js' }, 'node dist/cli.js status'],
    [
      'another data folder',
      { dataDir: "/tmp/it's here" },
      "BROKER_DATA_DIR='/tmp/it'\\''s here' node dist/cli.js status",
    ],
    ['a path with a space', { command: '../my app/cli.js' }, "node '../my app/cli.js' status"],
  ])('%s', (_what, other, line) => {
    expect(tryLines({ ...usual, ...other }, files).split('\n')).toContain(`  ${line}`);
  });
});
