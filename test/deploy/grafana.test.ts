import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from '@jest/globals';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { parse } from 'yaml';
import { BrokerMetrics, METRICS_PREFIX } from '../../src/operations/metrics.js';

const GRAFANA = fileURLToPath(new URL('../../deploy/grafana', import.meta.url));
const RUNBOOK = fileURLToPath(new URL('../../docs/runbook.md', import.meta.url));

interface Target {
  readonly expr: string;
  readonly legendFormat?: string;
}

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly links?: readonly { readonly url: string }[];
  readonly fieldConfig?: {
    readonly defaults: {
      readonly unit: string;
      readonly thresholds: { readonly steps: readonly { readonly value: number | null }[] };
    };
  };
  readonly targets?: readonly Target[];
}

interface Dashboard {
  readonly uid: string;
  readonly templating: {
    readonly list: readonly {
      readonly name: string;
      readonly type: string;
      readonly definition?: string;
      readonly query?: unknown;
    }[];
  };
  readonly panels: readonly Panel[];
}

const text = readFileSync(join(GRAFANA, 'service-token-broker.json'), 'utf8');
const dashboard = JSON.parse(text) as Dashboard;
const charts = dashboard.panels.filter(({ type }) => type !== 'row');
const targets = charts.flatMap(({ title, targets: own = [] }) =>
  own.map((target): Target & { title: string } => ({ title, ...target })),
);

/** What a started broker shows: its names, with the labels that each may have. */
const { registry } = new BrokerMetrics();
const labelsOf = (series: string): readonly string[] | undefined => {
  const base = series.replace(/_(?:bucket|sum|count)$/, '');
  const metric = [series, base]
    .map((name) => registry.getSingleMetric(name))
    .find((found) => found !== undefined) as { readonly labelNames?: string[] } | undefined;
  if (metric === undefined) return undefined;
  const ofBucket = series.endsWith('_bucket') ? ['le'] : [];
  // `instance` is Prometheus's own.
  return [...(metric.labelNames ?? []), ...ofBucket, 'instance'];
};
const seriesIn = (expr: string): string[] =>
  [...expr.matchAll(/service_token_broker_\w+/g)].map(([name]) => name);

describe('the dashboard', () => {
  test('is the one that its script makes', async () => {
    const { makeDashboard } = (await import('../../deploy/grafana/make-dashboard.mjs')) as {
      makeDashboard: () => unknown;
    };
    expect(dashboard).toEqual(JSON.parse(JSON.stringify(makeDashboard())));
  });

  test.each(targets)('asks for metrics and labels that the broker has: $title', (target) => {
    const { expr, legendFormat = '' } = target;
    const series = seriesIn(expr);
    if (!expr.includes('ALERTS{')) expect(series.length).toBeGreaterThan(0);
    expect(series.filter((name) => labelsOf(name) === undefined)).toEqual([]);
    const allowed = series.length === 0 ? ['alertname', 'alertstate', 'severity'] : [];
    for (const name of series) allowed.push(...(labelsOf(name) ?? []));
    const grouped = [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = '']) =>
      list.split(', '),
    );
    const matched = [...expr.matchAll(/[{,]\s*(\w+)(?:=~|!~|!=|=)"/g)].map(
      ([, label = '']) => label,
    );
    const shown = [...legendFormat.matchAll(/\{\{(\w+)\}\}/g)].map(([, label = '']) => label);
    expect([...grouped, ...matched, ...shown].filter((label) => !allowed.includes(label))).toEqual(
      [],
    );
    // A legend's label survives the aggregation.
    if (grouped.length > 0) {
      expect(shown.filter((label) => !grouped.includes(label))).toEqual([]);
    }
  });

  test('shows every metric of the broker’s own', () => {
    const common = new Registry();
    collectDefaultMetrics({ register: common, prefix: METRICS_PREFIX });
    const shown = new Set(targets.flatMap(({ expr }) => seriesIn(expr)));
    const missing = registry
      .getMetricsAsArray()
      .map(({ name }) => name)
      .filter((name) => common.getSingleMetric(name) === undefined)
      .filter((name) => !shown.has(name) && !shown.has(`${name}_bucket`));
    expect(missing).toEqual([]);
  });

  test('follows the choice of brokers and tokens', () => {
    for (const { expr } of targets) {
      for (const name of seriesIn(expr)) {
        const [, matchers = ''] = expr.split(`${name}{`);
        expect([expr, matchers.startsWith('instance=~"$instance"')]).toEqual([expr, true]);
      }
    }
    const choices = dashboard.templating.list;
    expect(choices.map(({ name }) => name)).toEqual(['datasource', 'token', 'instance', 'runbook']);
    for (const { type, name, definition = '' } of choices) {
      if (type !== 'query') continue;
      const [, series = '', label = ''] = /^label_values\((\w+), (\w+)\)$/.exec(definition) ?? [];
      expect(label).toBe(name);
      expect(labelsOf(series)).toContain(label);
    }
  });

  test('explains each panel, with a unit, and links to a section of the runbook', () => {
    const sections = new Set(
      readFileSync(RUNBOOK, 'utf8')
        .split('\n')
        .filter((line) => line.startsWith('#'))
        .map((line) =>
          line
            .replace(/^#+ /, '')
            .toLowerCase()
            .replaceAll(/[^\w -]/g, '')
            .replaceAll(' ', '-'),
        ),
    );
    for (const { title, description = '', links = [], fieldConfig } of charts) {
      expect([title, description.length > 3]).toEqual([title, true]);
      expect([title, fieldConfig?.defaults.unit]).toEqual([title, expect.any(String)]);
      for (const { url } of links) {
        expect(url).toMatch(/^\$\{runbook\}#/);
        expect([title, sections.has(url.split('#')[1] ?? '')]).toEqual([title, true]);
      }
    }
    const without = charts.filter(({ links }) => links === undefined).map(({ title }) => title);
    expect(without).toEqual(['Memory', 'Delay of the event loop', 'Processor']);
  });

  test('has ids of its own, and no panel upon another', () => {
    const { panels } = dashboard;
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) => {
      expect(x + w).toBeLessThanOrEqual(24);
      return Array.from({ length: w * h }, (_, at) => `${x + (at % w)} ${y + Math.floor(at / w)}`);
    });
    expect(new Set(cells).size).toBe(cells.length);
    const steps = charts.map(({ fieldConfig }) => fieldConfig?.defaults.thresholds.steps ?? []);
    for (const [first, ...others] of steps) {
      expect(first?.value).toBeNull();
      const values = others.map(({ value }) => value ?? Number.NaN);
      expect(values).toEqual(values.toSorted((one, other) => one - other));
    }
  });
});

test('the provisioning is for files that exist', () => {
  const folder = join(GRAFANA, 'provisioning');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  expect(files.filter((name) => name.endsWith('.yml')).toSorted()).toEqual([
    'dashboards/service-token-broker.yml',
    'datasources/prometheus.yml',
  ]);
  const { providers } = parse(
    readFileSync(join(folder, 'dashboards/service-token-broker.yml'), 'utf8'),
  ) as { readonly providers: readonly object[] };
  expect(providers).toEqual([
    expect.objectContaining({ type: 'file', options: expect.any(Object) }),
  ]);
});
