import { expect, test } from '@jest/globals';
import { html } from '../../../src/operations/status-page/html.js';
import { character, fc } from '../../support/properties.js';

/** What a parser of HTML would read of the text between two tags, or of an attribute. */
function decoded(markup: string): string {
  return markup.replaceAll(/&(#\d+|amp|lt|gt|quot);/g, (_, name: string) => {
    if (name.startsWith('#')) return String.fromCodePoint(Number(name.slice(1)));
    return { amp: '&', lt: '<', gt: '>', quot: '"' }[name] ?? '';
  });
}

test('no value becomes markup, and every value is read as what it was', () => {
  const text = fc.oneof(
    fc.string({ unit: character, maxLength: 40 }),
    fc.stringMatching(/^[<>"'`&;=/a-z! -]{0,30}$/),
  );
  fc.assert(
    fc.property(text, (value) => {
      const markup = String(html`<p title="${value}">${value}</p>`);
      const [, attribute = '', content = ''] =
        /^<p title="([^"]*)">([^<]*)<\/p>$/.exec(markup) ?? [];
      expect(markup).toBe(`<p title="${attribute}">${content}</p>`);
      expect(attribute + content).not.toMatch(/[<>"'`]|&(?!(?:amp|lt|gt|quot|#39|#96);)/);
      const plain = value
        .replaceAll(/[\t\n\v\f\r\u{feff}]/gu, ' ')
        .replaceAll(/[\p{Cc}\p{Cf}\p{Cs}]/gu, '\u{fffd}');
      expect(decoded(content)).toBe(plain);
    }),
  );
});

test('markup stays markup, lists are joined, and nothing is nothing', () => {
  const items = ['a', '<b>'].map((item) => html`<i>${item}</i>`);
  expect(String(html`<b>${items}${undefined}${false}${0}</b>`)).toBe(
    '<b><i>a</i><i>&lt;b&gt;</i>0</b>',
  );
});

test('line breaks of a template lose their indentation, those of a value are spaces', () => {
  const list = html`<div>
    <p>${'a\n  b'}</p>
  </div>`;
  expect(String(list)).toBe('<div>\n<p>a   b</p>\n</div>');
});
