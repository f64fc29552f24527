import { existsSync, readFileSync } from 'node:fs';
import { lexer, type Token, type Tokens } from 'marked';
import { html, type Html } from './html.js';
import { messagePage, pageShell } from './page-shell.js';

/** Where the package has its runbook: seen from a bundle, and from the modules as they are compiled. */
const PLACES = ['../../docs/runbook.md', '../../../docs/runbook.md'].map(
  (path) => new URL(path, import.meta.url),
);

let known: Html | undefined;

/** The runbook of this version, to which the problems on the status page lead. Whoever bundles the broker leaves it out. */
export function runbookPage(): Html | undefined {
  if (known === undefined) {
    const file = PLACES.find((place) => existsSync(place));
    if (file === undefined) return undefined;
    const main = html`<article class="runbook">${markdown(readFileSync(file, 'utf8'))}</article>`;
    known = pageShell({ title: 'Runbook', tone: 'good', viewer: undefined, main });
  }
  return known;
}

/** What is answered where there is no runbook. */
export function noRunbookPage(): Html {
  const words = 'This broker was bundled without its runbook: docs/runbook.md of its package.';
  return messagePage({ title: 'No runbook here', words });
}

/** Markdown of the project's own pages as markup: headings with the anchors that links name. Pure. */
export function markdown(text: string): readonly Html[] {
  return lexer(text).map(block);
}

function block(token: Token): Html {
  const { type } = token;
  switch (type) {
    case 'heading':
      return heading(token as Tokens.Heading);
    case 'code':
      return html`<pre tabindex="0">${(token as Tokens.Code).text.split('\n').map(codeLine)}</pre>`;
    case 'list':
      return list(token as Tokens.List);
    case 'table':
      return table(token as Tokens.Table);
    case 'paragraph':
      return html`<p>${inline(token)}</p>`;
    case 'space':
      return html``;
    default:
      return html`${inline(token)}`;
  }
}

function heading(token: Tokens.Heading): Html {
  const id = token.text
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
    .replaceAll(' ', '-');
  if (token.depth === 1) return html`<h1 id="${id}">${inline(token)}</h1>`;
  if (token.depth === 2) return html`<h2 id="${id}">${inline(token)}</h2>`;
  return html`<h3 id="${id}">${inline(token)}</h3>`;
}

function codeLine(line: string, index: number): Html {
  return index === 0 ? html`${line}` : html`<br />${line}`;
}

function list({ ordered, items }: Tokens.List): Html {
  const entries = items.map(({ tokens }) => html`<li>${tokens.map(block)}</li>`);
  return ordered
    ? html`<ol>
        ${entries}
      </ol>`
    : html`<ul>
        ${entries}
      </ul>`;
}

function table({ header, rows }: Tokens.Table): Html {
  const heads = header.map((cell) => html`<th scope="col">${cell.tokens.map(span)}</th>`);
  const lines = rows.map(
    (cells) =>
      html`<tr>
        ${cells.map((cell) => html`<td>${cell.tokens.map(span)}</td>`)}
      </tr>`,
  );
  return html`<table>
    <thead>
      <tr>
        ${heads}
      </tr>
    </thead>
    <tbody>
      ${lines}
    </tbody>
  </table>`;
}

function inline(token: Token): readonly Html[] {
  const { tokens } = token as { readonly tokens?: readonly Token[] };
  return tokens === undefined ? [span(token)] : tokens.map(span);
}

function span(token: Token): Html {
  switch (token.type) {
    case 'codespan':
      return html`<code>${(token as Tokens.Codespan).text}</code>`;
    case 'strong':
      return html`<b>${inline(token)}</b>`;
    case 'em':
      return html`<em>${inline(token)}</em>`;
    case 'link': {
      const { href } = token as Tokens.Link;
      // Other pages are not here.
      return /^(?:#|https:)/.test(href)
        ? html`<a href="${href}" rel="noreferrer">${inline(token)}</a>`
        : html`${inline(token)}`;
    }
    default: {
      const { tokens, text, raw } = token as Tokens.Text;
      return tokens === undefined ? html`${text ?? raw}` : html`${inline(token)}`;
    }
  }
}
