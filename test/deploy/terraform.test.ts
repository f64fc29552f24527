import { describe, expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import {
  CLIENT_AUTHENTICATION_METHODS,
  PROFILE_NAMES,
  SETTING_NAMES,
} from '../../src/config/settings.js';
import { ROOT } from './support/packaging.js';

// What can be checked of deploy/terraform without a tool; test/interop/terraform runs it.

const MODULE = join(ROOT, 'deploy/terraform');
const read = (file: string): string => readFileSync(join(MODULE, file), 'utf8');

/** The blocks of a file, by their names: `variable "issuer" { … }`. */
function blocksOf(file: string, kind: string): ReadonlyMap<string, string> {
  const blocks = read(file).matchAll(
    new RegExp(`^${kind} "(\\w+)" \\{\\n([\\s\\S]*?)\\n\\}$`, 'gm'),
  );
  return new Map([...blocks].map(([, name = '', body = '']) => [name, body]));
}

const variables = blocksOf('variables.tf', 'variable');
const outputs = blocksOf('outputs.tf', 'output');

/** The default of a variable, as the parameters of serverless.yml are written. */
function defaultOf(body: string): string | undefined {
  const [, text] = /^ {2}default += (.*)$/m.exec(body) ?? [];
  return text === undefined || text === '[]' ? text && '' : String(JSON.parse(text));
}

const { params, provider } = parse(readFileSync(join(ROOT, 'serverless.yml'), 'utf8'), {
  logLevel: 'silent',
}) as {
  readonly params: { readonly default: Readonly<Record<string, unknown>> };
  readonly provider: { readonly environment: Readonly<Record<string, unknown>> };
};

describe('the Terraform module', () => {
  test('has every parameter of serverless.yml, with its default', () => {
    for (const [parameter, value] of Object.entries(params.default)) {
      const name = parameter.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      const body = variables.get(name);
      if (body === undefined) throw new Error(`There is no variable ${name}.`);
      expect([name, defaultOf(body)]).toEqual([name, String(value)]);
    }
    for (const name of ['issuer', 'audience']) {
      expect(defaultOf(variables.get(name) ?? '')).toBeUndefined();
    }
  });

  test('describes every variable and output, and refuses null', () => {
    expect(variables.size).toBeGreaterThan(30);
    for (const [name, body] of variables) {
      expect([name, body]).toEqual([name, expect.stringMatching(/description = "[^"]{10}/)]);
      expect([name, body]).toEqual([name, expect.stringMatching(/nullable += false/)]);
    }
    for (const body of outputs.values()) expect(body).toMatch(/description = "[^"]{10}/);
  });

  test('has them all in its page', () => {
    const page = read('README.md');
    const rows = [...page.matchAll(/^\| `(\w+)`/gm)].map(([, name]) => name);
    expect(rows).toEqual([...variables.keys(), ...outputs.keys()]);
  });

  test('takes the words of the broker’s own settings', () => {
    const wordsOf = (name: string): readonly string[] => {
      const [, list = ''] = /contains\(\[(.*?)\], var/.exec(variables.get(name) ?? '') ?? [];
      return [...list.matchAll(/"([\w-]+)"/g)].map(([, word = '']) => word);
    };
    expect(wordsOf('profile')).toEqual(PROFILE_NAMES);
    expect(wordsOf('client_authentication').toSorted()).toEqual(
      [...CLIENT_AUTHENTICATION_METHODS].toSorted(),
    );
  });

  test('gives the functions the variables that serverless.yml gives, which the broker knows', () => {
    const named = new Set(
      [...read('functions.tf').matchAll(/^ +((?:BROKER|AWS)_\w+) +=/gm)].map(
        ([, name = '']) => name,
      ),
    );
    for (const name of Object.keys(provider.environment)) expect(named).toContain(name);
    const known: readonly string[] = [
      ...SETTING_NAMES,
      'BROKER_CONFIG',
      'AWS_ENDPOINT_URL_SECRETS_MANAGER',
    ];
    for (const name of named) expect(known).toContain(name);
  });

  test('keeps no value of a secret, in whose place the state would be', () => {
    for (const file of readdirSync(MODULE).filter((name) => name.endsWith('.tf'))) {
      expect(read(file)).not.toMatch(/aws_secretsmanager_secret_version|secret_string/);
    }
  });
});
