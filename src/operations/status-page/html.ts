/** Markup that is safe to send: only {@link html} makes it, and it escapes every value. */
export class Html {
  readonly #text: string;

  private constructor(text: string) {
    this.#text = text;
  }

  /** @internal Use {@link html}. */
  static of(strings: TemplateStringsArray, values: readonly HtmlValue[]): Html {
    return new Html(
      partsOf(strings).reduce((text, part, index) => text + toMarkup(values[index - 1]) + part),
    );
  }

  toString(): string {
    return this.#text;
  }
}

/** What may stand in a template: text and numbers are escaped; `undefined` and `false` are nothing. */
export type HtmlValue = Html | string | number | undefined | false | readonly HtmlValue[];

/**
 * Makes markup. Every value is escaped, for text and for attributes in double quotes; only markup that this function has
 * made stays as it is.
 *
 * @example
 * ```ts
 * String(html`<p title="${'"'}">${'<b>'}</p>`); // '<p title="&quot;">&lt;b&gt;</p>'
 * ```
 */
export function html(strings: TemplateStringsArray, ...values: readonly HtmlValue[]): Html {
  return Html.of(strings, values);
}

/** The fixed parts of a template, without their indentation. */
const parts = new WeakMap<TemplateStringsArray, readonly string[]>();

function partsOf(strings: TemplateStringsArray): readonly string[] {
  let known = parts.get(strings);
  if (known === undefined) {
    known = strings.raw.map((part) => part.replaceAll(/\s*\n\s*/g, '\n'));
    parts.set(strings, known);
  }
  return known;
}

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
  '`': '&#96;',
};

function toMarkup(value: HtmlValue): string {
  if (value === undefined || value === false) return '';
  if (value instanceof Html) return value.toString();
  if (typeof value === 'object') return value.map(toMarkup).join('');
  // Characters that HTML forbids, or that turn a line around, are shown as what they are: something odd.
  return String(value)
    .replaceAll(/[\p{Cc}\p{Cf}\p{Cs}]/gu, (found) => (/\s/.test(found) ? ' ' : '\u{fffd}'))
    .replaceAll(/[&<>"'`]/g, (found) => ESCAPES[found] ?? '');
}
