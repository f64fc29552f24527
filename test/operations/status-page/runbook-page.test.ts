import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { markdown, runbookPage } from '../../../src/operations/status-page/runbook-page.js';

const shown = (text: string): string => markdown(text).join('');

describe('Markdown as markup', () => {
  test.each([
    ['# An alarm: what now?', '<h1 id="an-alarm-what-now">An alarm: what now?</h1>'],
    ['## rotation-failed', '<h2 id="rotation-failed">rotation-failed</h2>'],
    ['### jwks_state', '<h3 id="jwks_state">jwks_state</h3>'],
    ['**Now** run `a < b`.', '<p><b>Now</b> run <code>a &lt; b</code>.</p>'],
    ['[Here](#there)', '<p><a href="#there" rel="noreferrer">Here</a></p>'],
    ['[A page](operating.md) and <b>', '<p>A page and &lt;b&gt;</p>'],
    ['[x](javascript:alert(1))', '<p>x</p>'],
    ['```sh\na <b\n  c\n```', '<pre tabindex="0">a &lt;b<br />  c</pre>'],
  ])('%j', (text, markup) => {
    expect(shown(text)).toBe(markup);
  });

  test('lists and tables', () => {
    expect(shown('- one\n- `two`').replaceAll('\n', '')).toBe(
      '<ul><li>one</li><li><code>two</code></li></ul>',
    );
    expect(shown('1. one').replaceAll('\n', '')).toBe('<ol><li>one</li></ol>');
    expect(shown('| a | b |\n| --- | --- |\n| `c` | d |').replaceAll('\n', '')).toBe(
      '<table><thead><tr><th scope="col">a</th><th scope="col">b</th></tr></thead>' +
        '<tbody><tr><td><code>c</code></td><td>d</td></tr></tbody></table>',
    );
  });
});

test('the runbook is whole: each link within it leads to a heading, and each command is there', () => {
  const page = String(runbookPage());
  const ids = new Set([...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id));
  const links = [...page.matchAll(/href="#([^"]+)"/g)].map(([, id]) => id);
  expect(links.length).toBeGreaterThan(3);
  expect(links.filter((id) => !ids.has(id))).toEqual([]);
  const text = readFileSync(new URL('../../../docs/runbook.md', import.meta.url), 'utf8');
  const blocks = text.match(/^ *```\w+$/gm) ?? [];
  expect(page.split('<pre ').length - 1).toBe(blocks.length);
});
