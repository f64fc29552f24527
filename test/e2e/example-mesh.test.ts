import { beforeAll, describe, expect, test } from '@jest/globals';
import { join } from 'node:path';
import { BASE_ENVIRONMENT, runNode } from '../support/broker-process.js';
import { bundleExample, compileExample } from './example-process.js';

let main: string;
beforeAll(async () => {
  await compileExample('mesh');
  const folder = await bundleExample('mesh', ['main', 'billing', 'orders', 'nightly-job']);
  main = join(folder, 'main.js');
}, 120_000);

describe.each([
  ['with secrets', []],
  ['without', ['--secretless']],
])('the mesh: a broker, two services and a job, %s', (_how, args) => {
  let lines: readonly string[];

  beforeAll(async () => {
    const { code, stdout, stderr } = await runNode([main, ...args], BASE_ENVIRONMENT);
    // What it wrote tells why, if it failed.
    expect({ code, wrote: code === 0 ? '' : stderr }).toEqual({ code: 0, wrote: '' });
    lines = stdout.split('\n');
  }, 120_000);

  const linesWith = (text: string): readonly string[] =>
    lines.filter((line) => line.includes(text)).map((line) => line.replaceAll(/ +/g, ' '));

  test('a customer’s call goes through both services as the customer', () => {
    expect(linesWith('ann-1')).toEqual([
      'orders POST /orders called by customer ann (request ann-1)',
      'billing POST /invoices called by customer ann (request ann-1)',
    ]);
    expect(linesWith('is answered 201')).toEqual(['ann is answered 201 {"invoiceFor":"ann"}']);
  });

  test('a customer’s token that is refused is not replaced by the service token', () => {
    expect(linesWith('ann-2')).toEqual([
      'orders POST /orders/write-off called by customer ann (request ann-2)',
    ]);
    expect(linesWith('is answered 403')).toHaveLength(1);
  });

  test('the job’s call goes through both services as the service', () => {
    expect(linesWith('night-1')).toEqual([
      'orders POST /orders/settlement called by service service-token-broker-dev (request night-1)',
      'billing POST /invoices/settlement called by service service-token-broker-dev (request night-1)',
    ]);
    expect(lines.at(-2)?.trim()).toBe('job       settled 1 invoices');
  });

  test('no token is written', () => {
    expect(lines.join('\n')).not.toMatch(/eyJ|Bearer/);
  });
});
