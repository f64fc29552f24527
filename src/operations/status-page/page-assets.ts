/** The style of the status page: one file, for light and dark, from a phone's width on. */
export const PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --paper: #fbfaf8; --ink: #1c1b19; --quiet: #5d5a54; --line: #dedad2; --soft: #f1eee8; --link: #0b57a4;
  --good: #1d7a4c; --warning: #8a5800; --bad: #b3251a; --left: #2f8f60; --mark: #fff;
  --bad-soft: #fcebe8; --warning-soft: #fbf1dc; --good-soft: #e6f4ec;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #151617; --ink: #ecebe7; --quiet: #a8a59d; --line: #34353a; --soft: #1f2124; --link: #8cc2ff;
    --good: #63c894; --warning: #e6b04d; --bad: #ff8a7d; --left: #3f9d6e; --mark: #151617;
    --bad-soft: #3a1e1c; --warning-soft: #33290f; --good-soft: #16301f;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }
body {
  margin: 0 auto; max-width: 64rem; padding: 0 clamp(1rem, 4vw, 2.5rem) 4rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere;
}
h1, h2, h3, h4, p, dl, dd, ol, table, figure { margin: 0; }
h1 { font-size: clamp(1.75rem, 1.2rem + 2.6vw, 2.75rem); line-height: 1.12; letter-spacing: -.022em; font-weight: 680; }
h2 { font-size: .8125rem; letter-spacing: .08em; text-transform: uppercase; color: var(--quiet); font-weight: 650; margin: 0 0 1rem; }
h3 { font-size: 1.125rem; line-height: 1.3; font-weight: 650; }
h4 { font-size: .875rem; font-weight: 650; margin-bottom: .25rem; }
h1, h3 { text-wrap: balance; }
code { font: .875em ui-monospace, "Cascadia Mono", Menlo, Consolas, "Liberation Mono", monospace; background: var(--soft); padding: .1em .35em; border-radius: 4px; }
a { color: var(--link); text-underline-offset: .18em; text-decoration-thickness: 1px; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; border-radius: 3px; }
section { margin-top: 3rem; }
section:not(:has(*)) { display: none; }
.quiet { color: var(--quiet); font-size: .875rem; }
.unseen, .skip:not(:focus) { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.skip:focus { position: absolute; top: .5rem; background: var(--paper); padding: .5rem; z-index: 1; }
.patterns { position: absolute; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; justify-content: space-between; align-items: baseline; padding: 1.25rem 0 .75rem; border-bottom: 1px solid var(--line); font-size: .875rem; }
.brand a { color: inherit; text-decoration: none; font-weight: 650; }
header nav a { margin-left: .75rem; }
.mark { width: 1em; height: 1em; flex: none; vertical-align: -.12em; margin-right: .4em; }
[id^=s-] circle { fill: currentColor; }
[id^=s-] path { fill: none; stroke: var(--mark); stroke-width: 2.4; stroke-linecap: round; stroke-linejoin: round; }
.mark.good { color: var(--good); } .mark.warning { color: var(--warning); } .mark.bad { color: var(--bad); }
.verdict { margin-top: clamp(1.75rem, 5vw, 3.5rem); }
.verdict h1 { display: flex; align-items: flex-start; }
.verdict h1 .mark { width: .82em; height: .82em; margin: .14em .38em 0 0; }
.lead { font-size: clamp(1.0625rem, 1rem + .5vw, 1.3rem); margin: .6rem 0 .5rem; max-width: 44rem; }
#live:not(:empty)::before { content: " · "; }
#live.lost { color: var(--bad); font-weight: 650; }
.problems { display: grid; gap: .75rem; margin-top: 2rem; }
.problems h2 { margin: 0; }
.problem { padding: 1rem 1.125rem; border-left: 4px solid; border-radius: 0 8px 8px 0; }
.problem.bad { border-color: var(--bad); background: var(--bad-soft); }
.problem.warning { border-color: var(--warning); background: var(--warning-soft); }
.problem p { margin-top: .35rem; max-width: 52rem; }
.problem code { background: none; padding: 0; font-weight: 650; }
.ways { display: flex; flex-wrap: wrap; gap: .5rem 1.25rem; align-items: center; margin-top: .75rem; }
.button, button {
  display: inline-block; font: inherit; font-size: .875rem; font-weight: 600; line-height: 1.3; padding: .4rem .8rem; border-radius: 6px;
  border: 1px solid var(--quiet); background: var(--paper); color: var(--ink); text-decoration: none; cursor: pointer;
}
.button:hover, button:hover { border-color: var(--ink); }
.ask button[type=submit] { background: var(--ink); color: var(--paper); border-color: var(--ink); }
.token + .token { margin-top: 2.5rem; padding-top: 2.5rem; border-top: 1px solid var(--line); }
.top { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: flex-end; gap: .25rem 2rem; }
.left-words { font-size: 1rem; color: var(--quiet); }
.left-words b { font-size: clamp(1.5rem, 1.1rem + 2vw, 2.125rem); letter-spacing: -.02em; font-weight: 660; color: var(--ink); line-height: 1.1; }
svg.bar, svg.line { display: block; overflow: visible; }
svg.bar { margin-top: .5rem; }
.bar .track { fill: var(--line); }
.bar .left { fill: var(--left); }
.bar.warning .left { fill: var(--warning); } .bar.bad .left { fill: var(--bad); }
.bar .margin { fill: url(#margin); }
#margin path { stroke: var(--ink); stroke-width: 2; opacity: .55; }
.bar .slot { stroke: var(--ink); fill: var(--ink); }
.bar .now { stroke: var(--ink); stroke-width: 2; fill: var(--ink); }
.bar.small { margin-top: .3rem; max-width: 16rem; }
.ends { display: flex; justify-content: space-between; gap: 1rem; font-size: .8125rem; color: var(--quiet); }
.ends span:last-child { text-align: right; }
.legend { display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; font-size: .8125rem; color: var(--quiet); margin-top: .3rem; }
.legend span::before { content: ""; display: inline-block; margin-right: .45em; vertical-align: -.06em; height: .75em; }
.legend .k-now::before { border: .35em solid transparent; border-top: .6em solid var(--ink); border-bottom: 0; height: 0; vertical-align: .02em; }
.legend .k-slot::before { border: .35em solid transparent; border-bottom: .6em solid var(--ink); border-top: 0; height: 0; vertical-align: .02em; }
.legend .k-margin::before { width: 1.2em; background: repeating-linear-gradient(135deg, var(--quiet) 0 2px, transparent 2px 5px); border: 1px solid var(--quiet); }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .9rem 1.5rem; margin-top: 1.25rem; }
dt { font-size: .8125rem; color: var(--quiet); }
.over { color: var(--warning); font-weight: 650; }
.rotations { margin-top: 1.25rem; }
.line { margin: .25rem 0; }
.line line { stroke: var(--line); stroke-width: 2; }
.line .done { fill: var(--good); } .line .idle { fill: var(--quiet); }
.line .elsewhere { fill: var(--paper); stroke: var(--good); stroke-width: 2; }
.line .failed { stroke: var(--bad); stroke-width: 3; stroke-linecap: round; }
.line .now { fill: none; stroke: var(--quiet); stroke-width: 2; stroke-dasharray: 2 3; }
.line .next { fill: var(--paper); stroke: var(--ink); stroke-width: 1.5; }
details { font-size: .875rem; }
summary { cursor: pointer; color: var(--quiet); width: fit-content; }
ol { padding-left: 1.6rem; }
li time { font-weight: 600; margin-right: .4em; }
li.failed { color: var(--bad); }
.health { border-top: 1px solid var(--line); }
.health div { display: grid; grid-template-columns: 11rem 1fr; gap: .1rem 1.5rem; padding: .65rem 0; border-bottom: 1px solid var(--line); }
.health dt { font-size: .9375rem; }
.health dd { display: flex; } .health .mark { margin-top: .28em; }
table { width: 100%; border-collapse: collapse; }
caption { text-align: left; color: var(--quiet); font-size: .875rem; padding-bottom: .6rem; }
th { text-align: left; font-weight: 600; }
thead th { font-size: .8125rem; color: var(--quiet); border-bottom: 1px solid var(--line); padding: .3rem 1rem .3rem 0; }
tbody th, td { vertical-align: top; padding: .65rem 1rem .65rem 0; border-bottom: 1px solid var(--line); width: 34%; }
tbody span.quiet { display: block; font-weight: 400; }
tbody th .button { border: 0; padding: 0; background: none; color: var(--link); text-decoration: underline; font-weight: 500; margin-top: .15rem; }
tbody th .mark { margin-left: 0; } th a[id^=row] { display: block; }
.off { color: var(--warning); font-size: .8125rem; }
.find { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; font-size: .875rem; }
input, textarea { font: inherit; font-size: 1rem; padding: .3rem .6rem; border: 1px solid var(--quiet); border-radius: 6px; background: var(--paper); color: var(--ink); min-width: 0; }
#find-peers + section { margin-top: 1rem; }
.pager { display: flex; gap: 1.25rem; font-size: .875rem; margin-top: .75rem; }
.caution { display: flex; margin-top: .75rem; max-width: 46rem; } .caution .mark { margin-top: .3em; }
.notice { display: flex; flex-wrap: wrap; justify-content: space-between; gap: .25rem 1.5rem; margin-top: 1.25rem; padding: .75rem 1rem; border-radius: 8px; border: 1px solid; }
.notice.good { border-color: var(--good); background: var(--good-soft); } .notice.bad { border-color: var(--bad); background: var(--bad-soft); }
.notice.warning { border-color: var(--warning); background: var(--warning-soft); }
.notice b { margin-right: .4em; }
.ask { max-width: 40rem; } .ask p, .ask form { margin-top: 1rem; } .ask form { display: flex; gap: .75rem; align-items: center; }
table.claims tbody th { width: 9rem; } table.claims td { width: auto; }
.welcome { margin-top: 1.75rem; padding: 1rem 1.25rem; background: var(--soft); border-radius: 8px; max-width: 52rem; } .welcome p + p { margin-top: .6rem; }
.tries form { display: grid; margin-top: 1rem; gap: .75rem; max-width: 34rem; } .tries .pair { display: grid; gap: .2rem; }
.after { margin: 1.5rem 0 .5rem; } ul { margin: 0; padding-left: 1.2rem; }
.steps { list-style: none; padding: 0; margin-top: .5rem; } .steps li { display: flex; padding: .3rem 0; } .steps .mark { margin-top: .3em; }
.runbook { max-width: 52rem; margin-top: 2rem; } .runbook h2 { margin: 2.5rem 0 .75rem; } .runbook h3 { margin: 2rem 0 .5rem; } .runbook :is(p, pre, ul, ol, table) { margin-top: .75rem; }
.runbook :target { text-decoration: underline; text-underline-offset: .3em; } .runbook td { width: auto; }
pre { overflow-x: auto; padding: .75rem 1rem; background: var(--soft); border-radius: 6px; font: .8125rem/1.5 ui-monospace, "Cascadia Mono", Menlo, Consolas, "Liberation Mono", monospace; }
@media (max-width: 40rem) {
  section { margin-top: 2.25rem; }
  .health div { grid-template-columns: 1fr; }
  thead th, tbody th, td { padding-right: .6rem; font-size: .9375rem; }
  .problem { padding: .875rem; }
}
@media (forced-colors: active) { .bar .left, .line use { fill: CanvasText; } }
@media print { header nav, .ways, .find { display: none; } }
`;

/**
 * The script of the status page: every five seconds, while it is visible, it fetches the page again and takes over what
 * has changed. What has the focus, is open or is selected stays.
 */
export const PAGE_SCRIPT = `'use strict';
(() => {
  const EVERY = 5000;
  const find = (id) => document.getElementById(id);
  const live = find('live');
  let timer;
  let lostAt;
  let isRunning = false;

  /** Takes over the content of a part, if it differs. */
  function take(next, id) {
    const here = find(id);
    const there = next.getElementById(id);
    if (!here || !there || here.innerHTML === there.innerHTML) return;
    const open = [...here.querySelectorAll('details[open]')].map((one) => one.id);
    const active = here.contains(document.activeElement) ? document.activeElement.id : '';
    here.innerHTML = there.innerHTML;
    for (const one of open) if (find(one)) find(one).open = true;
    if (active && find(active)) find(active).focus({ preventScroll: true });
  }

  function say(text, isLost) {
    if (live.textContent !== text) live.textContent = text;
    live.classList.toggle('lost', isLost);
  }

  async function refresh() {
    clearTimeout(timer);
    if (document.hidden || isRunning) return;
    isRunning = true;
    try {
      const response = await fetch(location.pathname + location.search, {
        cache: 'no-store', redirect: 'error', signal: AbortSignal.timeout(EVERY),
      });
      if (response.status === 401 || response.status === 403) {
        say('you are signed out: load the page again', true);
        return;
      }
      if (!response.ok) throw new Error();
      const next = new DOMParser().parseFromString(await response.text(), 'text/html');
      if (!next.getElementById('verdict')) throw new Error();
      const selection = getSelection();
      if (!selection || selection.isCollapsed) {
        document.title = next.title;
        find('verdict').className = next.getElementById('verdict').className;
        document.querySelector('link[rel=icon]').href = next.querySelector('link[rel=icon]').href;
        for (const id of ['says-box', 'lead', 'asof']) take(next, id);
        for (const part of document.querySelectorAll('[data-live]')) take(next, part.id);
      }
      lostAt = undefined;
      say('updates by itself', false);
    } catch {
      lostAt ??= new Date();
      say('no answer since ' + lostAt.toISOString().slice(11, 19) + ' UTC, trying again', true);
    } finally {
      isRunning = false;
    }
    timer = setTimeout(refresh, EVERY);
  }

  document.addEventListener('visibilitychange', refresh);
  say('updates by itself', false);
  timer = setTimeout(refresh, EVERY);
})();
`;
