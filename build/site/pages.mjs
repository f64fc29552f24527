// From Markdown to the content of a page: headings with GitHub's anchors, links that lead where they say, coloured code,
// drawn pictures, and the text that the search looks through. Nothing here reads or writes files.
import hljs from 'highlight.js/lib/core';
import bash from 'highlight.js/lib/languages/bash';
import dockerfile from 'highlight.js/lib/languages/dockerfile';
import go from 'highlight.js/lib/languages/go';
import ini from 'highlight.js/lib/languages/ini';
import java from 'highlight.js/lib/languages/java';
import javascript from 'highlight.js/lib/languages/javascript';
import json from 'highlight.js/lib/languages/json';
import nginx from 'highlight.js/lib/languages/nginx';
import python from 'highlight.js/lib/languages/python';
import typescript from 'highlight.js/lib/languages/typescript';
import yaml from 'highlight.js/lib/languages/yaml';
import { Marked } from 'marked';

const LANGUAGES = {
  bash,
  dockerfile,
  go,
  ini,
  java,
  javascript,
  json,
  nginx,
  python,
  typescript,
  yaml,
};
for (const [name, language] of Object.entries(LANGUAGES)) hljs.registerLanguage(name, language);

/** A picture that is wider is drawn from top to bottom, in pixels. */
const PICTURE_WIDTH = 760;

/** Not any SVG: opened by itself, it runs scripts that the policy of a page forbids. */
const IMAGE = /\.(?:png|jpe?g|webp|gif)$/i;
/** SVG that benches draw, which has nothing but lines and words. */
const PLOT = /^docs\/plots\/[\w-]+\.svg$/;
const PLOT_TAG =
  /^<\/?(?:svg|title|style|g|path|circle|text)(?: [a-z-]+="[^"<>&]*"| viewBox="[\d ]+")* ?\/?>$/;
/** What Markdown has no words for. Nothing that loads, runs or styles. */
const PLAIN_HTML =
  /<\/?(?:br|details|summary|kbd|sub|sup|p|div|b|em)(?: (?:open|align="\w+"))* ?\/?>/g;

/** @returns the path in the site of a Markdown file of the repository: `docs/guard.md` is at `docs/guard.html`. */
export function pathOf(file) {
  return file
    .replace(/(^|\/)README\.md$/, '$1index.html')
    .replace(/\.md$/, '.html')
    .toLowerCase();
}

/** @returns the link from a page of the site to another path in it, as a relative URL. */
export function linkBetween(from, to) {
  const up = from.split('/').slice(0, -1);
  const down = to.split('/');
  while (up.length > 0 && down.length > 1 && up[0] === down[0]) {
    up.shift();
    down.shift();
  }
  return [...up.map(() => '..'), ...down].join('/');
}

/**
 * Reads a page: its tokens, its title, and its headings with their anchors.
 *
 * @param file its path in the repository.
 * @param text its Markdown.
 */
export function readPage(file, text) {
  const tokens = new Marked().lexer(text);
  const taken = new Map();
  const headings = tokens
    .filter(({ type }) => type === 'heading')
    .map((token) => {
      const words = plainText(token.tokens);
      const slug = anchorOf(words);
      const count = taken.get(slug) ?? 0;
      taken.set(slug, count + 1);
      const id = count === 0 ? slug : `${slug}-${count}`;
      return { token, id, words, depth: token.depth };
    });
  const title = headings.find(({ depth }) => depth === 1)?.words;
  return { file, path: pathOf(file), title, tokens, headings };
}

/** GitHub's anchor of a heading, which the links of the pages name. */
export function anchorOf(words) {
  return words
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}_ -]/gu, '')
    .replaceAll(' ', '-');
}

/**
 * Renders a page's content.
 *
 * @param site the `pages` by file, `exists(path)` saying whether the repository has a `file` or a `folder` there, and `source`, the address that
 *   the repository's files are read at; `read(path)`, the text of a file; and `draw`, which makes SVG of a Mermaid picture.
 * @returns the `html`; the files of the repository that it shows as `images`; and the `faults`: dead links, pictures that cannot be drawn, a title that is missing.
 */
export function renderPage(page, site) {
  const faults = [];
  const images = [];
  const ids = new Map(page.headings.map(({ token, id }) => [token, id]));
  let pictures = 0;
  const marked = new Marked({
    renderer: {
      heading(token) {
        const { tokens, depth } = token;
        const words = this.parser.parseInline(tokens);
        const id = ids.get(token);
        // A heading within a list or a quotation has no anchor.
        if (id === undefined) return `<h${depth}>${words}</h${depth}>\n`;
        if (depth === 1) return `<h${depth} id="${id}">${words}</h${depth}>\n`;
        const mark = `<a class="anchor" href="#${id}" aria-label="Link to this section">#</a>`;
        return `<h${depth} id="${id}">${words} ${mark}</h${depth}>\n`;
      },
      link({ href, tokens }) {
        const target = resolveLink(page, href, site);
        if (target.fault !== undefined) faults.push(target.fault);
        const outside = target.outside ? ' rel="noreferrer"' : '';
        return `<a href="${escape(target.href)}"${outside}>${this.parser.parseInline(tokens)}</a>`;
      },
      image({ href, text }) {
        const path = joinPath(page.file, href);
        if (path === undefined || site.exists(path) !== 'file' || !isShown(path, site)) {
          faults.push(`an image that is no file of the repository: ${href}`);
          return '';
        }
        images.push(path);
        return `<img src="${escape(linkBetween(page.path, `images/${path}`))}" alt="${escape(text)}">`;
      },
      // Marked leaves text within <kbd> as it is, with whatever only a browser takes for a tag: `<img/src=x>`.
      text(token) {
        return token.tokens === undefined
          ? escapeText(token.text)
          : this.parser.parseInline(token.tokens);
      },
      html({ text }) {
        const markup = text.replaceAll(/<!--[\s\S]*?-->/g, '');
        const strange = markup.replaceAll(PLAIN_HTML, '').match(/<[^>]*>?/);
        if (strange === null) return markup;
        faults.push(`HTML that the site does not take: ${strange[0]}`);
        return '';
      },
      codespan({ text }) {
        // Long names may break after their joints, so that tables fit.
        const code = escape(text).replaceAll(/([_/.])(?=\w)/g, text.length > 10 ? '$1<wbr>' : '$1');
        return `<code>${code}</code>`;
      },
      table(token) {
        return tableBlock(token, (tokens) => this.parser.parseInline(tokens));
      },
      code({ text, lang }) {
        if (lang !== 'mermaid') return codeBlock(text, lang);
        pictures += 1;
        try {
          return picture(text, `picture-${pictures}`, site.draw);
        } catch (error) {
          faults.push(`a picture that cannot be drawn: ${error.message}`);
          return codeBlock(text);
        }
      },
    },
  });
  if (page.title === undefined) faults.push('no title: a heading with one #');
  return { html: marked.parser(page.tokens), images, faults };
}

/**
 * Where a link of a page leads in the site: to a page, to a file of the repository, or to elsewhere.
 *
 * @returns the `href`; `outside`, true if it leaves the site; `fault`, what is wrong with it.
 */
export function resolveLink(page, href, { pages, exists, source }) {
  if (/^(?:https?|mailto):/.test(href)) return { href, outside: true };
  const [before, anchor] = href.split('#');
  const dead = { href, fault: `a dead link: ${href}` };
  const file = decoded(before);
  if (file === undefined) return dead;
  const path = file === '' ? page.file : joinPath(page.file, file);
  if (path === undefined) return dead;
  const target = pages.get(path) ?? pages.get(path === '' ? 'README.md' : `${path}/README.md`);
  if (target === undefined) {
    const kind = exists(path);
    if (kind === undefined || anchor !== undefined) return dead;
    return { href: `${source}/${kind === 'folder' ? 'tree' : 'blob'}/main/${path}`, outside: true };
  }
  if (anchor === undefined) return { href: linkBetween(page.path, target.path) };
  if (!target.headings.some(({ id }) => id === anchor)) return dead;
  return target === page
    ? { href: `#${anchor}` }
    : { href: `${linkBetween(page.path, target.path)}#${anchor}` };
}

/** @returns a path without percent signs; nothing if they mean nothing. */
function decoded(path) {
  try {
    return decodeURI(path);
  } catch {
    return undefined;
  }
}

/** @returns a path from a file's folder, without its dots; nothing if it leads out of the repository. */
function joinPath(file, path) {
  if (path.startsWith('/')) return undefined;
  const parts = file.split('/').slice(0, -1);
  for (const part of path.split('/')) {
    if (part === '..') {
      if (parts.length === 0) return undefined;
      parts.pop();
    } else if (part !== '' && part !== '.') parts.push(part);
  }
  return parts.join('/');
}

/**
 * What the search looks through: the text of a page below each of its headings.
 *
 * @returns each section's `url` in the site, `page` (its title), `heading` and `text`.
 */
export function sectionsOf(page) {
  const sections = [];
  const heading = new Map(page.headings.map((one) => [one.token, one]));
  for (const token of page.tokens) {
    const found = heading.get(token);
    if (found !== undefined && found.depth <= 3) {
      const url = found.depth === 1 ? page.path : `${page.path}#${found.id}`;
      sections.push({ url, page: page.title, heading: found.words, text: '' });
      continue;
    }
    const section = sections.at(-1);
    if (section === undefined) continue;
    const text = plainText([token]).replaceAll(/\s+/g, ' ').trim();
    if (text !== '') section.text += section.text === '' ? text : ` ${text}`;
  }
  return sections;
}

/** The words of some tokens, without their marks. */
function plainText(tokens) {
  return tokens
    .map((token) => {
      if (token.type === 'html' || token.type === 'space') return ' ';
      if (token.type === 'table') {
        const rows = [token.header, ...token.rows];
        return rows.map((row) => row.map((cell) => plainText(cell.tokens)).join(' ')).join(' ');
      }
      if (token.type === 'list') return token.items.map((item) => plainText(item.tokens)).join(' ');
      if (token.tokens !== undefined)
        return `${plainText(token.tokens)}${BLOCKS.has(token.type) ? ' ' : ''}`;
      return token.text ?? ' ';
    })
    .join('');
}
const BLOCKS = new Set(['paragraph', 'heading', 'blockquote', 'text']);

/** A table that scrolls within its place. On a phone one of many columns is read row by row, each cell below its heading. */
function tableBlock({ header, rows }, words) {
  const wide = header.length > 3 ? ' wide' : '';
  const heads = header.map(
    ({ tokens }) => `<th role="columnheader" scope="col">${words(tokens)}</th>`,
  );
  const lines = rows.map((cells) => {
    const items = cells.map(
      ({ tokens }, at) =>
        `<td role="cell" data-label="${escape(plainText(header[at].tokens))}">${words(tokens)}</td>`,
    );
    return `<tr role="row">${items.join('')}</tr>`;
  });
  return `<div class="table${wide}" tabindex="0" role="group" aria-label="Table"><table role="table">
<thead role="rowgroup"><tr role="row">${heads.join('')}</tr></thead>
<tbody role="rowgroup">
${lines.join('\n')}
</tbody></table></div>
`;
}

function codeBlock(text, lang) {
  const language = lang !== undefined && hljs.getLanguage(lang) ? lang : undefined;
  const code = language === undefined ? escape(text) : hljs.highlight(text, { language }).value;
  return `<pre tabindex="0"><code>${code}</code></pre>\n`;
}

/** A picture as SVG. Its colours are the site's: it has no style of its own, which the policy of the pages would forbid. */
function picture(text, name, draw) {
  let svg = draw(text);
  if (widthOf(svg) > PICTURE_WIDTH && /^\s*(?:flowchart|graph) (?:LR|RL)/.test(text)) {
    const upright = draw(text.replace(/(flowchart|graph) (?:LR|RL)/, '$1 TD'));
    if (widthOf(upright) < widthOf(svg)) svg = upright;
  }
  svg = svg
    .replace(/<style>[\s\S]*?<\/style>/, '')
    .replace(/^<svg([^>]*?) style="[^"]*"/, '<svg$1 role="img" aria-label="Picture"')
    .replaceAll(/(id="|url\(#)(arrowhead)/g, `$1${name}-$2`);
  if (/<style|\sstyle="/.test(svg)) throw new Error('it brings a style of its own');
  return `<figure class="picture" tabindex="0">${svg}</figure>\n`;
}

function widthOf(svg) {
  return Number(/ width="([\d.]+)"/.exec(svg)?.[1]);
}

/** Text of Markdown, fit for markup: what it writes as an entity stays one. */
function escapeText(text) {
  return escape(text).replaceAll(/&amp;(?=(?:#\d{1,7}|#x[\da-f]{1,6}|\w+);)/gi, '&');
}

/** Text, fit for markup. */
export function escape(text) {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}

function isShown(path, site) {
  return IMAGE.test(path) || (PLOT.test(path) && isPlot(site.read(path)));
}

/** Whether an SVG has only what plots are drawn with: no script, nothing from elsewhere. */
function isPlot(svg) {
  const tags = svg.match(/<[^>]*>?/g) ?? [];
  return (
    svg.startsWith('<svg ') &&
    tags.every((tag) => PLOT_TAG.test(tag) && !/ (?:on|href|xlink)/i.test(tag)) &&
    !/@import|url\(|\\/i.test(svg)
  );
}
