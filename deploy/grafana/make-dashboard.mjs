// Writes the dashboard from panels.yml: node deploy/grafana/make-dashboard.mjs
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';

const DASHBOARD = new URL('service-token-broker.json', import.meta.url);
/** Where the links of the panels lead, unless the dashboard's variable says otherwise. */
const RUNBOOK = 'https://git.service-token-broker.example/service-token-broker/docs/runbook.md';
const DATASOURCE = { type: 'prometheus', uid: '${datasource}' };
const WIDTH = 24;

const readYaml = (file) => parse(readFileSync(new URL(file, import.meta.url), 'utf8'));
const alertNames = () =>
  readYaml('../prometheus-rules.yml').groups.flatMap(({ rules }) =>
    rules.map((rule) => rule.alert),
  );

const OPTIONS = {
  stat: {
    colorMode: 'background',
    graphMode: 'none',
    justifyMode: 'auto',
    orientation: 'auto',
    percentChangeColorMode: 'standard',
    showPercentChange: false,
    textMode: 'auto',
    wideLayout: true,
    reduceOptions: { calcs: ['lastNotNull'], fields: '', values: false },
  },
  table: { frameIndex: 0, showHeader: true },
  timeseries: {
    legend: { displayMode: 'list', placement: 'bottom', showLegend: true, calcs: [] },
    tooltip: { mode: 'multi', sort: 'desc' },
  },
};

function defaultsOf({ kind, unit = 'short', decimals, steps, words, unknown, max, bars, line }) {
  const isSeries = kind === undefined;
  const mappings = [];
  if (words) {
    const options = Object.fromEntries(words.map((text, value) => [value, { text }]));
    mappings.push({ type: 'value', options });
  }
  if (unknown) {
    mappings.push({ type: 'special', options: { match: 'nan', result: { text: unknown } } });
  }
  return {
    unit,
    ...(decimals !== undefined && { decimals }),
    ...(max !== undefined && { min: 0, max }),
    mappings,
    color: { mode: kind === 'stat' ? 'thresholds' : 'palette-classic' },
    thresholds: {
      mode: 'absolute',
      steps: Object.entries(steps ?? { green: null }).map(([color, value]) => ({ color, value })),
    },
    ...(isSeries && {
      custom: {
        drawStyle: bars ? 'bars' : 'line',
        fillOpacity: bars ? 60 : 10,
        lineWidth: 1,
        showPoints: 'never',
        ...(bars && { stacking: { mode: 'normal', group: 'A' } }),
        ...(line && { thresholdsStyle: { mode: 'dashed' } }),
      },
    }),
  };
}

function linkTo(url) {
  const shown = { title: 'Runbook', icon: 'doc', tooltip: 'What to do', tags: [] };
  const how = { asDropdown: false, includeVars: false, keepTime: false, targetBlank: true };
  return { type: 'link', url, ...shown, ...how };
}

function panelOf(panel, alerts) {
  const { title, about, kind = 'timeseries', queries, runbook } = panel;
  const isNow = kind !== 'timeseries';
  const time = isNow ? { instant: true, range: false } : { range: true };
  const targets = Object.entries(queries).map(([legend, expr], index) =>
    Object.assign(
      {
        refId: String.fromCodePoint(65 + index),
        datasource: DATASOURCE,
        editorMode: 'code',
        expr: expr.replace('$alerts', alerts),
      },
      time,
      legend === 'value' ? {} : { legendFormat: legend },
      kind === 'table' ? { format: 'table' } : {},
    ),
  );
  const hidden = { excludeByName: { Time: true, Value: true }, indexByName: {}, renameByName: {} };
  return {
    type: kind,
    title,
    description: about,
    datasource: DATASOURCE,
    ...(runbook && { links: [linkTo(`\${runbook}#${runbook}`)] }),
    fieldConfig: { defaults: defaultsOf(panel), overrides: [] },
    options: OPTIONS[kind],
    targets,
    ...(kind === 'table' && { transformations: [{ id: 'organize', options: hidden }] }),
  };
}

/** From left to right, and below when the width is used up. */
function laidOut(rows, alerts) {
  const all = [];
  let y = 0;
  const add = (panel, gridPos) => all.push({ id: all.length + 1, ...panel, gridPos });
  for (const { row: title, height: h = 8, panels } of rows) {
    add({ type: 'row', title, collapsed: false, panels: [] }, { h: 1, w: WIDTH, x: 0, y });
    y += 1;
    let x = 0;
    for (const panel of panels) {
      const w = panel.w ?? (panel.kind === 'stat' ? 4 : 8);
      if (x + w > WIDTH) [x, y] = [0, y + h];
      add(panelOf(panel, alerts), { h, w, x, y });
      x += w;
    }
    y += h;
  }
  return all;
}

function choiceOf(name, label) {
  const query = `label_values(service_token_broker_token_remaining_seconds, ${name})`;
  return {
    name,
    label,
    type: 'query',
    datasource: DATASOURCE,
    definition: query,
    query: { qryType: 1, query, refId: 'PrometheusVariableQueryEditor-VariableQuery' },
    refresh: 2,
    sort: 1,
    multi: true,
    includeAll: true,
    allValue: '.*',
    current: { text: ['All'], value: ['$__all'] },
  };
}

/** The dashboard, as Grafana imports it. */
export function makeDashboard() {
  const current = { text: RUNBOOK, value: RUNBOOK };
  return {
    uid: 'service-token-broker',
    title: 'Service token broker',
    description: 'Whether peers get their tokens, and what to do when they do not.',
    tags: ['service-token-broker'],
    schemaVersion: 39,
    version: 1,
    editable: true,
    graphTooltip: 1,
    refresh: '30s',
    time: { from: 'now-24h', to: 'now' },
    timezone: 'browser',
    templating: {
      list: [
        { name: 'datasource', label: 'Prometheus', type: 'datasource', query: 'prometheus' },
        choiceOf('token', 'Token'),
        choiceOf('instance', 'Broker'),
        { name: 'runbook', label: 'Runbook', type: 'textbox', query: RUNBOOK, current },
      ],
    },
    annotations: { list: [] },
    links: [linkTo('${runbook}')],
    panels: laidOut(readYaml('panels.yml'), alertNames().join('|')),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  writeFileSync(DASHBOARD, `${JSON.stringify(makeDashboard(), null, 2)}\n`);
}
