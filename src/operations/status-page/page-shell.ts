import { html, type Html } from './html.js';
import { mark, PATTERNS } from './page-charts.js';
import type { Paged, Tone } from './page-model.js';

/** Who looks at the page. */
export interface Viewer {
  readonly id: string;
  /** Dev mode signs everybody in who reaches it from this machine. */
  readonly isAutomatic: boolean;
}

/** What happened to an action, for the next page. */
export interface Notice {
  readonly tone: Tone;
  readonly title: string;
  readonly words: string;
}

/** What stands around everything: head, name, who is signed in. */
export function pageShell(page: {
  readonly title: string;
  readonly tone: Tone;
  readonly viewer: Viewer | undefined;
  readonly main: Html;
  /** Whether the script keeps it up to date. Default: no. */
  readonly isLive?: boolean;
}): Html {
  const { title, tone, viewer, main, isLive = false } = page;
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <meta name="color-scheme" content="light dark" />
        <title>${title} · service-token-broker</title>
        <link
          rel="icon"
          href="data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 20 20'%3E%3Ccircle cx='10' cy='10' r='9' fill='%23${ICON[tone]}'/%3E%3C/svg%3E"
        />
        <link rel="stylesheet" href="page.css" />
        ${isLive && html`<script src="page.js" defer></script>`}
      </head>
      <body>
        <a class="skip" href="#main">Skip to the status</a>
        ${PATTERNS}
        <header>
          <p class="brand"><a href="./">service-token-broker</a></p>
          <nav aria-label="Account">${account(viewer)}</nav>
        </header>
        <main id="main">${main}</main>
      </body>
    </html> `;
}

const ICON: Readonly<Record<Tone, string>> = { good: '1d7a4c', warning: 'b87500', bad: 'c4281c' };

function account(viewer: Viewer | undefined): Html {
  if (viewer === undefined) return html`<a href="sign-in">Sign in</a>`;
  if (viewer.isAutomatic) return html`Development: acting as <b>${viewer.id}</b>`;
  return html`Signed in as <b>${viewer.id}</b> <a href="sign-out">Sign out</a>`;
}

/** What was done. */
export function noticeBox({ tone, title, words }: Notice): Html {
  return html`<section class="notice ${tone}" role="status" aria-label="What was done">
    <p>${mark(tone)}<b>${title}</b> ${words}</p>
    <a href="./">Dismiss</a>
  </section>`;
}

/** The question before an action. Works without a script. */
export function confirmPage(question: {
  readonly title: string;
  readonly words: readonly string[];
  readonly button: string;
  readonly fields: Readonly<Record<string, string>>;
  readonly viewer: Viewer;
}): Html {
  const { title, words, button, fields, viewer } = question;
  const main = html`<section class="ask" aria-labelledby="ask">
    <h1 id="ask">${title}</h1>
    ${words.map((text) => html`<p>${text}</p>`)}
    <form method="post" action="act">
      ${Object.entries(fields).map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}" />`)}<button
        type="submit"
      >
        ${button}
      </button>
      <a class="button plain" href="./">Cancel</a>
    </form>
  </section>`;
  return pageShell({ title, tone: 'warning', viewer, main });
}

/** A page that only says something. */
export function messagePage(message: {
  readonly title: string;
  readonly words: string;
  readonly viewer?: Viewer | undefined;
}): Html {
  const { title, words, viewer } = message;
  const main = html`<section class="ask">
    <h1>${title}</h1>
    <p>${words}</p>
    <p><a href="./">To the status</a></p>
  </section>`;
  return pageShell({ title, tone: 'warning', viewer, main });
}

const ACTION_WORDS = {
  rotate: ['Rotate now…', 'token'],
  repair: ['Repair…', 'token'],
  disable: ['Disable…', 'peer'],
  enable: ['Enable…', 'peer'],
} as const;

/** The link to the question before an action. */
export function actionLink(action: keyof typeof ACTION_WORDS, name: string, id: string): Html {
  const [words, kind] = ACTION_WORDS[action];
  return html`<a
    class="button"
    id="${id}"
    href="confirm?do=${action}&amp;${kind}=${encodeURIComponent(name)}"
    >${words}<span class="unseen"> ${kind} ${name}</span></a
  >`;
}

/** The links to the pages of a list. */
export function pager(
  list: Paged<unknown>,
  label: string,
  urlOf: (page: number) => string,
): Html | undefined {
  const { page, pages } = list;
  if (pages === 1) return undefined;
  return html`<nav class="pager" aria-label="${label}, pages">
    ${page > 1 && html`<a href="${urlOf(page - 1)}">Previous</a>`}<span
      >Page ${page} of ${pages}</span
    >${page < pages && html`<a href="${urlOf(page + 1)}">Next</a>`}
  </nav>`;
}
