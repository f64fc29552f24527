import { beforeAll, describe, expect, test } from '@jest/globals';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parse } from 'yaml';
import { SETTING_NAMES, type SettingName } from '../../src/config/settings.js';
import { BrokerMetrics } from '../../src/operations/metrics.js';
import { EVERY_OPTION, packageStack, ROOT } from './support/packaging.js';
import { PAGES } from '../support/documented-blocks.js';
import { drawStack, ofType, type DrawnResource } from './support/template.js';

let stack: ReadonlyMap<string, DrawnResource>;
beforeAll(async () => {
  stack = drawStack(await packageStack(EVERY_OPTION));
}, 120_000);

const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');
const page = (name: string): string => read(`docs/${name}.md`);

/** The anchors of a page, as they are made of its headings. */
function anchorsOf(markdown: string): readonly string[] {
  return [...markdown.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\w\- ]/g, '')
      .replaceAll(' ', '-'),
  );
}

/** What stands between backticks in the first column of a page's tables. */
function firstColumn(markdown: string): readonly string[] {
  return [...markdown.matchAll(/^\| (`.+?) *\|/gm)].flatMap(([, cell = '']) =>
    [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name),
  );
}

describe('the page about deploying', () => {
  test('says of every resource what it is for and what it costs, and of no other', () => {
    const listed = firstColumn(page('deploying').split('## What each resource is for')[1] ?? '');
    expect(listed.toSorted()).toEqual([...stack.keys()].toSorted());
  });

  test('has every parameter', () => {
    const { params } = parse(read('serverless.yml'), { logLevel: 'silent' }) as {
      readonly params: { readonly default: object };
    };
    const [, table = ''] = page('deploying').split('## Parameters');
    const listed = firstColumn(table.split('\n## ')[0] ?? '');
    expect(listed.toSorted()).toEqual(
      ['issuer', 'audience', ...Object.keys(params.default)].toSorted(),
    );
  });
});

describe('the runbook', () => {
  test('has a section for every alarm, which its description names', () => {
    const anchors = anchorsOf(page('runbook'));
    const alarms = ofType(stack, 'AWS::CloudWatch::Alarm').map(({ properties }) => ({
      name: String(properties['AlarmName']).replace('service-token-broker-dev-', ''),
      description: String(properties['AlarmDescription']),
    }));
    for (const { name, description } of alarms) {
      expect(anchors).toContain(name);
      expect(description).toMatch(new RegExp(`docs/runbook\\.md#${name}$`));
    }
    const sections = page('runbook').split(/^## /m).slice(1);
    for (const { name } of alarms) {
      const section = sections.find((text) => text.startsWith(`${name}\n`));
      for (const part of ['**You see**', '**It means', '**Do']) expect(section).toContain(part);
    }
  });

  test('knows only codes that the broker has', () => {
    const source = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts'))
      .map((file) => read(join('src', file)))
      .join('\n');
    const codes = [...page('runbook').matchAll(/`([A-Z]{3,}_[A-Z_]+[A-Z])`/g)]
      .map(([, code = '']) => code)
      .filter(
        (code) =>
          !['ERROR_MESSAGE', 'HTTPS_PROXY'].includes(code) &&
          !SETTING_NAMES.includes(code as SettingName),
      );
    expect(codes.length).toBeGreaterThan(10);
    expect(
      codes.filter((code) => !source.includes(`'${code}'`) && !source.includes(`${code}:`)),
    ).toEqual([]);
  });
});

describe('the rules for Prometheus', () => {
  interface Rule {
    readonly alert: string;
    readonly expr: string;
    readonly annotations: { readonly summary: string; readonly runbook: string };
  }
  const { groups } = parse(read('deploy/prometheus-rules.yml')) as {
    readonly groups: readonly { readonly rules: readonly Rule[] }[];
  };
  const rules = groups.flatMap((group) => group.rules);
  const { registry } = new BrokerMetrics();

  test('know only metrics and labels that the broker has', () => {
    expect(rules.length).toBeGreaterThan(8);
    for (const { alert, expr, annotations } of rules) {
      const names = [...expr.matchAll(/service_token_broker_\w+/g)].map(([name]) => name);
      expect([alert, names.length > 0]).toEqual([alert, true]);
      const labels = names.flatMap((name) => {
        const metric = registry.getSingleMetric(name) as { labelNames?: string[] } | undefined;
        expect([alert, name, metric !== undefined]).toEqual([alert, name, true]);
        return metric?.labelNames ?? [];
      });
      const used = [
        ...[...expr.matchAll(/(\w+)(?:=~|!~|!=|=)"/g)].map(([, label = '']) => label),
        ...[...annotations.summary.matchAll(/\$labels\.(\w+)/g)].map(([, label = '']) => label),
      ];
      // `instance` is Prometheus's own.
      expect([alert, used.filter((label) => ![...labels, 'instance'].includes(label))]).toEqual([
        alert,
        [],
      ]);
    }
  });

  test('lead to a section of the runbook each', () => {
    const anchors = anchorsOf(page('runbook'));
    for (const { annotations } of rules) {
      expect(annotations.runbook).toMatch(/^docs\/runbook\.md#/);
      expect(anchors).toContain(annotations.runbook.split('#')[1]);
    }
  });
});

test('the page about the client has every code of the client', () => {
  const listed = firstColumn(page('client').split('## When it fails')[1] ?? '');
  const { length } = listed;
  expect(length).toBeGreaterThan(15);
  const source = ['client-errors.ts', 'attachment/attachment-rules.ts']
    .map((file) => read(join('src/client', file)))
    .join('\n');
  // A code is quoted, or a member with a kind: `BROKER_TIMEOUT: 'retry'`. Other constants are none.
  const codes = [
    ...source.matchAll(/'([A-Z]{3,}(?:_[A-Z]+)+)'|^ {2}([A-Z]{3,}(?:_[A-Z]+)+): '/gm),
  ].map(([, quoted, member]) => quoted ?? member ?? '');
  expect(codes.length).toBeGreaterThan(15);
  expect([...new Set(codes)].filter((code) => !listed.includes(code))).toEqual([]);
});

test.each(PAGES)('every link of %s leads somewhere', (name) => {
  const links = [...read(name).matchAll(/\]\(([^)]+)\)/g)]
    .map(([, link = '']) => link)
    .filter((link) => !link.startsWith('https:'));
  const broken = links.filter((link) => {
    const [file = '', anchor] = link.split('#');
    const path = file === '' ? join(ROOT, name) : join(ROOT, dirname(name), file);
    if (!existsSync(path)) return true;
    return anchor !== undefined && !anchorsOf(readFileSync(path, 'utf8')).includes(anchor);
  });
  expect(broken).toEqual([]);
});

test('the index leads to every page of its folder', () => {
  const index = page('README');
  const pages = PAGES.filter(
    (name) => /^docs\/[^/]+\.md$/.test(name) && !name.endsWith('README.md'),
  );
  expect(pages.length).toBeGreaterThan(25);
  expect(pages.filter((name) => !index.includes(`](${name.slice(5)}`))).toEqual([]);
});
