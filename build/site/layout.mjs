// The frame around a page's content: where the reader is, what else there is, and the search.
import { escape, linkBetween } from './pages.mjs';

/** Nothing comes from another host, nothing is sent anywhere, and no script but the site's own runs. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'";

/**
 * A whole page of the site.
 *
 * @param page what `readPage` gave, and `html`, what `renderPage` made of it.
 * @param site the `groups` of the navigation, the `pages` by file, the project's `name`, `version` and `home`, and `source`.
 */
export function layout(page, html, site) {
  const link = (path) => escape(linkBetween(page.path, path));
  const { name, version, source } = site;
  const title = page.file === 'README.md' ? name : `${page.title} · ${name}`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${escape(title)}</title>
<link rel="icon" href="${link('assets/icon.svg')}">
<link rel="stylesheet" href="${link('assets/site.css')}">
<script src="${link('assets/site.js')}" data-sections="${link('assets/sections.js')}" data-root="${link('index.html').slice(0, -'index.html'.length)}" defer></script>
</head>
<body id="top">
<a class="skip" href="#content">To the content</a>
<header>
<a class="brand" href="${link('index.html')}"><svg aria-hidden="true" viewBox="0 0 24 24"><circle cx="12" cy="12" r="10"/><path d="m7.5 12.5 3 3 6-7"/></svg>${name}</a>
<form role="search" hidden><label class="unseen" for="search">Search the documentation</label><input id="search" type="search" placeholder="Search" autocomplete="off" spellcheck="false"><kbd aria-hidden="true">/</kbd></form>
<a class="opener" href="#pages">Pages</a>${contents(page) === '' ? '' : '<a class="opener" href="#contents">On this page</a>'}
</header>
<div id="results" role="region" aria-label="Search results" hidden><p role="status"></p><ul></ul></div>
<div class="columns">
<nav id="pages" aria-label="Pages"><a class="closer" href="#top">Close</a>${navigation(page, site)}</nav>
<main id="content">
<article>
${html}</article>
<footer>
${neighbours(page, site)}<p class="quiet"><a href="${escape(`${source}/blob/main/${page.file}`)}" rel="noreferrer">Source of this page</a> · ${name} ${version} · <a href="${escape(`${source}/blob/main/LICENSE`)}" rel="noreferrer">MIT licence</a></p>
</footer>
</main>
${contents(page)}</div>
</body>
</html>
`;
}

function navigation(page, { groups, pages }) {
  const item = (file, inner = '') => {
    const { path, label } = pages.get(file);
    const here = file === page.file ? ' aria-current="page"' : '';
    return `<li><a href="${escape(linkBetween(page.path, path))}"${here}>${escape(label)}</a>${inner}</li>`;
  };
  const list = (entries) => `<ul>${entries.join('')}</ul>`;
  return groups
    .map(({ title, entries }) => {
      const items = entries.map(({ file, below }) => {
        // What stands below a page is shown where the reader is in it.
        const open = file === page.file || below.includes(page.file);
        return item(file, open && below.length > 0 ? list(below.map((one) => item(one))) : '');
      });
      return `<h2>${escape(title)}</h2>${list(items)}`;
    })
    .join('');
}

/** The headings of the page, for the column beside it. */
function contents({ headings }) {
  const shown = headings.filter(({ depth }) => depth === 2 || depth === 3);
  if (shown.length < 2) return '';
  const items = shown.map(
    ({ id, words, depth }) =>
      `<li class="depth-${depth}"><a href="#${escape(id)}">${escape(words)}</a></li>`,
  );
  return `<nav id="contents" aria-label="On this page"><a class="closer" href="#top">Close</a><h2>On this page</h2><ul>${items.join('')}</ul></nav>\n`;
}

/** The pages before and after, in the order of the navigation. */
function neighbours(page, { groups, pages }) {
  const order = groups.flatMap(({ entries }) =>
    entries.flatMap(({ file, below }) => [file, ...below]),
  );
  const at = order.indexOf(page.file);
  const link = (file, rel, word) => {
    if (file === undefined) return '';
    const { path, label } = pages.get(file);
    return `<a rel="${rel}" href="${escape(linkBetween(page.path, path))}"><span>${word}</span> ${escape(label)}</a>`;
  };
  return `<nav class="neighbours" aria-label="Previous and next page">${link(order[at - 1], 'prev', 'Previous')}${link(order[at + 1], 'next', 'Next')}</nav>\n`;
}
