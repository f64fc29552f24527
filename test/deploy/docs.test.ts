import { beforeAll, describe, expect, test } from '@jest/globals';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { EVERY_OPTION, packageStack, ROOT } from './support/packaging.js';
import { drawStack, ofType, type DrawnResource } from './support/template.js';

let stack: ReadonlyMap<string, DrawnResource>;
beforeAll(async () => {
  stack = drawStack(await packageStack(EVERY_OPTION));
}, 120_000);

const PAGES = ['deploying', 'runbook', 'containers', 'migrating'] as const;
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
      .filter((code) => code !== 'ERROR_MESSAGE');
    expect(codes.length).toBeGreaterThan(10);
    expect(
      codes.filter((code) => !source.includes(`'${code}'`) && !source.includes(`${code}:`)),
    ).toEqual([]);
  });
});

test.each(PAGES)('every link of docs/%s.md leads somewhere', (name) => {
  const links = [...page(name).matchAll(/\]\(([^)]+)\)/g)].map(([, link = '']) => link);
  expect(links.length).toBeGreaterThan(0);
  const broken = links.filter((link) => {
    const [file = '', anchor] = link.split('#');
    const path = file === '' ? join(ROOT, 'docs', `${name}.md`) : join(ROOT, 'docs', file);
    if (!existsSync(path)) return true;
    return anchor !== undefined && !anchorsOf(readFileSync(path, 'utf8')).includes(anchor);
  });
  expect(broken).toEqual([]);
});
