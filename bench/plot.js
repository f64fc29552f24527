import { scaleLinear, scaleLog } from 'd3-scale';

const WIDTH = 760;
const PLOT = { left: 84, right: 36, height: 300 };
const LINE = 18;
/** Told apart also by those who do not see red or green (Okabe and Ito); each line has a mark of its own besides. */
const COLOURS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#56b4e9', '#e69f00', '#000000'];
const MARKS = [circle, square, diamond, triangle];
/** More points than this are drawn without marks. */
const MOST_MARKS = 40;
const TICKS = 6;

/**
 * A plot of lines as SVG text, readable on a light and on a dark page.
 *
 * `x` and `y` are `{ label, scale: 'linear' | 'log', min?, max? }`; `series` are `{ name, points: [[x, y], …] }`. A point
 * whose y is not finite ends the line, and the next begins another. On a logarithmic scale every value must be above 0.
 */
export function linePlot({ title, subtitle, x, y, series }) {
  const used = series.slice(0, COLOURS.length);
  if (used.length < series.length) {
    throw new Error(`A plot shows ${COLOURS.length} lines at most, not ${series.length}.`);
  }
  const points = series.flatMap((one) => one.points).filter(isDrawn);
  if (points.length === 0) throw new Error(`There is nothing to draw in "${title}".`);
  const top = 14 + LINE * (1 + (subtitle ? 1 : 0)) + 10;
  const legend = legendRows(series);
  const bottom = top + PLOT.height;
  const height = bottom + 48 + legend.length * LINE + 8;
  const across = axis(x, points.map(at(0)), [PLOT.left, WIDTH - PLOT.right]);
  const up = axis({ min: y.scale === 'log' ? undefined : 0, ...y }, points.map(at(1)), [
    bottom,
    top,
  ]);
  const parts = [
    text(PLOT.left, 24, title, 'font-size="15" font-weight="600"'),
    ...(subtitle ? [text(PLOT.left, 24 + LINE, subtitle, 'font-size="12" class="faint"')] : []),
    ...up.ticks.map(
      (tick) =>
        `<path class="grid" d="M${PLOT.left} ${round(up.at(tick))}H${WIDTH - PLOT.right}"/>` +
        text(PLOT.left - 8, up.at(tick) + 4, up.name(tick), 'text-anchor="end"'),
    ),
    ...across.ticks.map(
      (tick) =>
        `<path class="grid" d="M${round(across.at(tick))} ${top}V${bottom}"/>` +
        text(across.at(tick), bottom + 18, across.name(tick), 'text-anchor="middle"'),
    ),
    text((PLOT.left + WIDTH - PLOT.right) / 2, bottom + 38, x.label, 'text-anchor="middle"'),
    text(
      0,
      0,
      y.label,
      `text-anchor="middle" transform="translate(16 ${(top + bottom) / 2}) rotate(-90)"`,
    ),
    ...series.map((one, index) => line(one.points, index, across.at, up.at)),
    ...legend.flatMap((row, index) => legendRow(row, bottom + 58 + index * LINE)),
  ];
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" role="img" font-family="system-ui, sans-serif" font-size="12">
<title>${escape(title)}</title>
<style>
svg { background: #fff; color: #1f2328 }
text { fill: currentColor }
.faint { opacity: 0.7 }
.grid { stroke: currentColor; stroke-opacity: 0.15; fill: none }
</style>
${parts.join('\n')}
</svg>
`;
}

function axis({ scale, min, max }, values, range) {
  const from = min ?? Math.min(...values);
  const to = max ?? Math.max(...values);
  if (scale === 'log' && !(from > 0)) {
    throw new Error(`A logarithmic axis cannot show ${from}: it begins above 0.`);
  }
  const made = (scale === 'log' ? scaleLog() : scaleLinear()).domain([from, widened(from, to)]);
  made.range(range).nice(scale === 'log' ? undefined : TICKS);
  const ticks = made.ticks(TICKS);
  // A decade has nine ticks; where there are many decades only the powers of ten are named.
  const shown = scale === 'log' && ticks.length > 2 * TICKS ? ticks.filter(isPowerOfTen) : ticks;
  return { at: made, ticks: shown, name: shortNumber };
}

function widened(from, to) {
  if (to > from) return to;
  return from === 0 ? 1 : from + Math.abs(from);
}

function isPowerOfTen(value) {
  return Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9;
}

/** `1500` as `1,500`, `2000000` as `2 M`: a tick must be short. */
function shortNumber(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${round(value / 1e9)} G`;
  if (size >= 1e6) return `${round(value / 1e6)} M`;
  return size >= 1 || value === 0
    ? round(value).toLocaleString('en-US')
    : String(Number(value.toPrecision(3)));
}

function line(points, index, across, up) {
  const colour = COLOURS[index];
  let path = '';
  let isDown = false;
  for (const point of points) {
    if (isDrawn(point))
      path += `${isDown ? 'L' : 'M'}${round(across(point[0]))} ${round(up(point[1]))}`;
    isDown = isDrawn(point);
  }
  const marks =
    points.length > MOST_MARKS
      ? ''
      : points
          .filter(isDrawn)
          .map(([px, py]) => MARKS[index % MARKS.length](round(across(px)), round(up(py))))
          .join('');
  return `<g stroke="${colour}" fill="${colour}"><path fill="none" stroke-width="2" stroke-linejoin="round" d="${path}"/>${marks}</g>`;
}

/** The names of the lines, as many in a row as fit. */
function legendRows(series) {
  const rows = [[]];
  let used = 0;
  for (const [index, { name }] of series.entries()) {
    const width = 34 + name.length * 7;
    if (used > 0 && used + width > WIDTH - PLOT.left - PLOT.right) {
      rows.push([]);
      used = 0;
    }
    rows.at(-1).push({ index, name, left: PLOT.left + used });
    used += width;
  }
  return rows;
}

function legendRow(row, height) {
  return row.map(({ index, name, left }) => {
    const colour = COLOURS[index];
    const mark = MARKS[index % MARKS.length](left + 8, height - 4);
    return `<g stroke="${colour}" fill="${colour}"><path stroke-width="2" d="M${left} ${height - 4}h16"/>${mark}</g>${text(left + 22, height, name, '')}`;
  });
}

function circle(x, y) {
  return `<circle cx="${x}" cy="${y}" r="3"/>`;
}

function square(x, y) {
  return `<path d="M${x - 3} ${y - 3}h6v6h-6z"/>`;
}

function diamond(x, y) {
  return `<path d="M${x} ${y - 4}l4 4l-4 4l-4 -4z"/>`;
}

function triangle(x, y) {
  return `<path d="M${x} ${y - 4}l4 7h-8z"/>`;
}

function text(x, y, words, attributes) {
  return `<text x="${round(x)}" y="${round(y)}" ${attributes}>${escape(words)}</text>`;
}

function escape(words) {
  return words.replace(/[&<>"]/g, (sign) => `&#${sign.charCodeAt(0)};`);
}

function isDrawn(point) {
  return Number.isFinite(point[0]) && Number.isFinite(point[1]);
}

function at(index) {
  return (point) => point[index];
}

function round(value) {
  return Math.round(value * 10) / 10;
}
