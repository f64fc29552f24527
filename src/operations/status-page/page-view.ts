import { earlyMargin } from '../../rotation/due.js';
import { html, type Html } from './html.js';
import { actionLink, noticeBox, pager, pageShell, type Notice, type Viewer } from './page-shell.js';
import { insiderSections } from './page-tables.js';
import {
  clockOf,
  instant,
  lifeBar,
  mark,
  rotationMarks,
  smallBar,
  timeLine,
} from './page-charts.js';
import { READS_PER_HOUR } from './page-facts.js';
import {
  lengthOf,
  type HealthLine,
  type Paged,
  type Problem,
  type StatusModel,
  type StatusView,
  type TokenCard,
  type TokenRow,
} from './page-model.js';

/** The status page. Pure. */
export function statusPage(
  model: StatusModel,
  page: {
    readonly viewer: Viewer | undefined;
    readonly view: StatusView;
    readonly notice?: Notice | undefined;
    /** Whether credentials that are sent now can be read on their way. */
    readonly isOpenToEavesdroppers: boolean;
    /** What dev mode adds. */
    readonly extra?: Html | undefined;
    readonly configFile: string | undefined;
  },
): Html {
  const { viewer, view, notice } = page;
  const { insider } = model;
  const isOne = model.rows === undefined && model.cards.length === 1;
  const main = html`${notice && noticeBox(notice)}
    <section id="verdict" class="verdict ${model.tone}" aria-labelledby="says">
      <div aria-live="polite" id="says-box">
        <h1 id="says">${mark(model.tone)}<span>${model.headline}</span></h1>
      </div>
      <p class="lead" id="lead">${model.summary}</p>
      <p class="quiet">
        <span id="asof"
          >As of ${instant(model.now, `${new Date(model.now).toISOString().slice(11, 19)} UTC`)}, up
          for ${lengthOf(model.now - model.startedAt)}</span
        ><span id="live" role="status"></span>
      </p>
    </section>
    ${model.isDevelopment && welcome()}
    <section id="problems" class="problems" data-live>
      ${
        model.problems.length > 0 &&
        html`<h2>What is wrong, and what to do</h2>
          ${model.problems.map((problem, index) => problemBox(problem, index, viewer, isOne))}${model.moreProblems > 0 && html`<p>And ${model.moreProblems} more: <a href="health/ready">all that health says</a>.</p>`}`
      }
    </section>
    <section id="tokens" data-live>
      <h2>${isOne ? 'The token' : 'Tokens'}</h2>
      ${model.cards.map((card) => tokenCard(card, model.now, viewer))}
      ${model.rows && tokenTable(model.rows, model.now, view)}
    </section>
    <section id="health" data-live>
      <h2>Store and provider</h2>
      <dl class="health">${model.health.map(healthLine)}</dl>
    </section>
    ${page.extra}
    ${insider === undefined ? signInHint(page.isOpenToEavesdroppers) : insiderSections(insider, model.now, view, viewer, page.configFile)}`;
  return pageShell({ title: model.headline, tone: model.tone, viewer, main, isLive: true });
}

/** For who has just started it. */
function welcome(): Html {
  return html`<section class="welcome" aria-label="What this is">
    <p>
      <b>What this is.</b> Your services call each other, and some calls have no customer. For those
      they need a service token. This broker alone holds the client secret: it mints the token at
      the provider, keeps it, renews it at each slot, and gives it to the services that may have it,
      its <i>peers</i>. Below is the token that it serves now, what is in it, and who has asked.
    </p>
    <p>
      <b>Try it.</b> Paste the lines from the terminal, and see this page change.
      <i>Rotate now</i> mints another token.
    </p>
  </section>`;
}

/** A problem of these sections is often over with a new token. */
const MAY_ROTATE: ReadonlySet<string> = new Set([
  'tokens_unavailable_total',
  'token_accepted',
  'rotations_total',
]);

function problemBox(
  problem: Problem,
  index: number,
  viewer: Viewer | undefined,
  isOne: boolean,
): Html {
  const { tone, title, reason, code, runbook, tokens } = problem;
  const [first] = tokens;
  const shown = tokens.slice(0, 5).join(', ');
  const more = tokens.length > 5 ? ` and ${tokens.length - 5} more` : '';
  return html`<article class="problem ${tone}" aria-labelledby="problem-${index}">
    <h3 id="problem-${index}">
      ${mark(tone)}<span
        >${title}${first !== undefined && !isOne && html`: <span class="name">${shown}${more}</span>`}</span
      >
    </h3>
    <p>${reason}</p>
    <p class="ways">
      ${code !== undefined && html`<code>${code}</code>`}<a href="runbook#${runbook}"
        >Runbook: ${runbook.replaceAll('_', ' ')}</a
      >${viewer !== undefined && first !== undefined && MAY_ROTATE.has(runbook) && actionLink('rotate', first, `problem-${index}-rotate`)}${viewer !== undefined && first !== undefined && code === 'STORE_ROTATION_PENDING' && actionLink('repair', first, `problem-${index}-repair`)}
    </p>
  </article>`;
}

/** Rotations in a card. */
const MOST_MARKS = 6;

function tokenCard(card: TokenCard, now: number, viewer: Viewer | undefined): Html {
  const { name, tone, words, standing, details } = card;
  const { generatedAt, expiresAt } = standing;
  const marks = rotationMarks(details, MOST_MARKS);
  const last = marks.at(-1);
  const id = `token-${name}`;
  const audience = viewer === undefined ? '' : details.audience.join(', ');
  const issuer = viewer === undefined ? undefined : details.issuer;
  return html`<article class="token" aria-labelledby="${id}">
    <div class="top">
      <div>
        <h3 id="${id}">${name}</h3>
        <p class="quiet">${mark(tone)}${words}</p>
      </div>
      <p class="left-words">
        ${expiresAt === undefined ? html`<b>none</b> cached yet` : expiresAt <= now ? html`<b>expired</b> ${lengthOf(now - expiresAt)} ago` : html`<b>${lengthOf(expiresAt - now)}</b> left`}
      </p>
    </div>
    ${lifeBar(standing, details, now, tone)}
    ${
      generatedAt !== undefined &&
      expiresAt !== undefined &&
      html`<p class="ends">
          <span>minted ${instant(generatedAt, clockOf(generatedAt, now))}</span
          ><span>expires ${instant(expiresAt, clockOf(expiresAt, now))} UTC</span>
        </p>
        <p class="legend">
          <span class="k-now">now</span
          >${details.slots.length > 0 && html`<span class="k-slot">slot</span>`}<span
            class="k-margin"
            >rotated early in its last
            ${lengthOf(earlyMargin({ generatedAt, expiresAt }, details.minimumLife, now))}</span
          >
        </p>`
    }
    <dl class="facts">
      <div>
        <dt>Next rotation</dt>
        <dd>${nextRotation(card, now)}</dd>
      </div>
      <div>
        <dt>Provider</dt>
        <dd>
          ${details.provider}${issuer !== undefined && html`<br /><span class="quiet">${issuer}</span>`}
        </dd>
      </div>
      ${
        audience !== '' &&
        html`<div>
          <dt>Audience</dt>
          <dd>${audience}</dd>
        </div>`
      }
      <div>
        <dt>Budget</dt>
        <dd>
          ${budget(details.reads, READS_PER_HOUR, 'store reads an hour')}<br />${budget(
            details.mints,
            Math.max(1, details.plannedMints),
            'mints a day',
          )}
        </dd>
      </div>
    </dl>
    <div class="rotations">
      <h4>Last rotations</h4>
      ${
        last === undefined
          ? html`<p class="quiet">None seen since the broker started.</p>`
          : html`<p>${instant(last.at, `${lengthOf(now - last.at)} ago`)}: ${last.words}</p>
              ${timeLine(marks, details.nextSlot, now)}
              <p class="ends">
                <span>${clockOf(marks[0]?.at ?? now, now)}</span
                >${details.nextSlot !== undefined && html`<span>next slot ${clockOf(details.nextSlot, now)} UTC</span>`}
              </p>
              ${
                marks.length > 1 &&
                html`<details id="${id}-list">
                  <summary>The last ${marks.length} in words</summary>
                  <ol reversed>
                    ${marks.toReversed().map((one) => html`<li class="${one.kind}">${instant(one.at, clockOf(one.at, now))} ${one.words}</li>`)}
                  </ol>
                </details>`
              }`
      }
    </div>
    ${viewer !== undefined && html`<p class="ways">${actionLink('rotate', name, `${id}-rotate`)}${actionLink('repair', name, `${id}-repair`)}</p>`}
  </article>`;
}

function nextRotation({ details, standing }: TokenCard, now: number): Html {
  const { rotatedBy, isScheduled } = details;
  if (rotatedBy === 'primary-region') return html`in the primary Region`;
  if (!isScheduled) return html`not by this process`;
  const next = standing.rotation?.next;
  if (rotatedBy === 'secrets-manager' || (next === undefined && details.nextSlot === undefined)) {
    return html`by Secrets Manager’s schedule`;
  }
  const at = next === undefined ? (details.nextSlot ?? now) : Date.parse(next);
  if (at <= now) return html`due now`;
  return html`in ${lengthOf(at - now)}
    <span class="quiet">${instant(at, clockOf(at, now))} UTC</span>`;
}

/** A number and what it may be; more is said in words. */
function budget(done: number, most: number, what: string): Html {
  const words = `${done} of ${most} ${what}`;
  return done > most ? html`<b class="over">${words}, more than planned</b>` : html`${words}`;
}

function tokenTable(rows: Paged<TokenRow>, now: number, view: StatusView): Html {
  return html`<table>
      <caption>
        ${rows.total} tokens, those that need a look first
      </caption>
      <thead>
        <tr>
          <th scope="col">Token</th>
          <th scope="col">Life</th>
          <th scope="col">Next rotation</th>
        </tr>
      </thead>
      <tbody>
        ${rows.items.map(
          ({ name, tone, words, standing }) =>
            html`<tr>
              <th scope="row">
                <a id="row-${name}" href="?token=${name}&amp;tokens=${rows.page}#tokens">${name}</a
                ><span class="quiet">${mark(tone)}${words}</span>
              </th>
              <td>
                ${standing.expiresAt === undefined ? 'none cached' : standing.expiresAt <= now ? 'expired' : lengthOf(standing.expiresAt - now)}${smallBar(standing, now, tone)}
              </td>
              <td>
                ${standing.rotation?.next === undefined ? '–' : `in ${lengthOf(Date.parse(standing.rotation.next) - now)}`}
              </td>
            </tr>`,
        )}
      </tbody>
    </table>
    ${pager(rows, 'Tokens', (page) => `?tokens=${page}${view.token === undefined ? '' : `&token=${encodeURIComponent(view.token)}`}`)}`;
}

function healthLine({ label, tone, words }: HealthLine): Html {
  return html`<div>
    <dt>${label}</dt>
    <dd>
      ${mark(tone)}<span
        >${tone !== 'good' && html`<span class="unseen">${tone === 'bad' ? 'Broken: ' : 'Look: '}</span>`}${words}</span
      >
    </dd>
  </div>`;
}

function signInHint(isOpen: boolean): Html {
  return html`<section id="insider">
    <h2>Peers and events</h2>
    <p>
      Who asked, who was refused and why, and the actions (<i>rotate now</i>, <i>repair</i>,
      <i>disable peer</i>) are for peers with the role <code>admin</code>.
      <a href="sign-in">Sign in</a> with the peer’s id and secret.
    </p>
    ${
      isOpen &&
      html`<p class="caution">
        ${mark('warning')}<span
          >This connection is not encrypted and comes from another machine: a secret that you type
          can be read on its way. Use <code>kubectl port-forward</code> or <code>ssh -L</code>, and
          open the page on your own machine.</span
        >
      </p>`
    }
  </section>`;
}
