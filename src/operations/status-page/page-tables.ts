import { html, type Html } from './html.js';
import { instant, mark } from './page-charts.js';
import { READS_PER_HOUR, type PeerFacts } from './page-facts.js';
import {
  lengthOf,
  type PeerRow,
  type PrivateModel,
  type StatusView,
  type Tone,
} from './page-model.js';
import { actionLink, pager, type Viewer } from './page-shell.js';
import type { RecentEvent } from './recent-activity.js';

/** Peers and events, for admins. */
export function insiderSections(
  insider: PrivateModel,
  now: number,
  view: StatusView,
  viewer: Viewer | undefined,
  configFile: string | undefined,
): Html {
  const { peers, malformed, events, listReads } = insider;
  const urlOf = (page: number): string =>
    `?peers=${page}${view.peer === '' ? '' : `&peer=${encodeURIComponent(view.peer)}`}#peers`;
  return html`<section id="find-peers">
      <h2 id="peers-title">Peers</h2>
      <form class="find" method="get" action="./" role="search" aria-label="Peers">
        <label for="peer">Find a peer</label
        ><input
          id="peer"
          name="peer"
          type="search"
          value="${view.peer}"
          maxlength="64"
          autocomplete="off"
          spellcheck="false"
        /><button class="plain" type="submit">Find</button>
      </form>
    </section>
    <section id="peers" aria-labelledby="peers-title" data-live>
      <table>
        <caption>
          ${peers.total}
          ${peers.total === 1 ? 'peer' : 'peers'}${view.peer !== '' && ` with “${view.peer}”`},
          those that asked last first. The list was read ${budgetWords(listReads)} in the last
          hour.${malformed > 0 && ` ${malformed} malformed entries are refused: “peers list” names them.`}
        </caption>
        <thead>
          <tr>
            <th scope="col">Peer</th>
            <th scope="col">Asked</th>
            <th scope="col">Refused</th>
          </tr>
        </thead>
        <tbody>
          ${peers.items.map((row) => peerRow(row, now, viewer, configFile))}
        </tbody>
      </table>
      ${pager(peers, 'Peers', urlOf)}
      <p class="quiet">Counted by this process, since its start.</p>
    </section>
    <section id="events" data-live>
      <h2>Events</h2>
      ${
        events.length === 0
          ? html`<p class="quiet">None since the start.</p>`
          : html`<table>
              <caption>
                The last decisions, without tokens that were served. The
                <code>audit</code>
                has all of them.
              </caption>
              <thead>
                <tr>
                  <th scope="col">When</th>
                  <th scope="col">What</th>
                  <th scope="col">Who</th>
                </tr>
              </thead>
              <tbody>
                ${events.map((event) => eventRow(event, now))}
              </tbody>
            </table>`
      }
    </section>`;
}

function budgetWords(reads: number): string {
  return `${reads} of ${READS_PER_HOUR} times`;
}

const METHODS: Readonly<Record<string, string>> = {
  client_secret_basic: 'its secret',
  client_secret_post: 'its secret, in a form',
  bearer: 'a workload token',
  client_assertion: 'a workload token, in a form',
  tls_client_auth: 'a client certificate',
  iam: 'its AWS identity',
};

function peerRow(
  { peer, activity }: PeerRow,
  now: number,
  viewer: Viewer | undefined,
  configFile: string | undefined,
): Html {
  const { id, roles, tokens, enabled, identities } = peer;
  const may = [
    ...roles.filter((role) => role !== 'token'),
    ...(roles.includes('token') ? tokens : []),
  ];
  const shown = identities.slice(0, 2);
  const asked = activity !== undefined && activity.asked > 0;
  const { refusedAt } = activity ?? {};
  return html`<tr>
    <th scope="row">
      ${id}${!enabled && html` <b class="off">disabled</b>`}<span class="quiet"
        >${may.slice(0, 4).join(', ')}${may.length > 4 && ` and ${may.length - 4} more`}${shown.map((identity) => html`<br />${identity}`)}${identities.length > 2 && html`<br />and ${identities.length - 2} more`}</span
      >${peerAction(peer, viewer, configFile)}
    </th>
    <td>
      ${asked ? html`${instant(activity.lastAt, `${lengthOf(now - activity.lastAt)} ago`)}<span class="quiet">${activity.asked.toLocaleString('en')} times${activity.lastMethod !== undefined && html`, last by ${METHODS[activity.lastMethod] ?? activity.lastMethod}`}${activity.lastToken !== undefined && html`, for ${activity.lastToken}`}</span>` : 'not yet'}
    </td>
    <td>
      ${refusedAt === undefined ? 'never' : html`${instant(refusedAt, `${lengthOf(now - refusedAt)} ago`)}<span class="quiet">${activity?.refused.toLocaleString('en')} times, last: ${reasonWords(activity?.refusedReason)}</span>`}
    </td>
  </tr>`;
}

function peerAction(
  { id, enabled, source }: PeerFacts,
  viewer: Viewer | undefined,
  configFile: string | undefined,
): Html | undefined {
  if (viewer === undefined || id === viewer.id) return undefined;
  if (source === 'file') {
    return html`<span class="quiet"
      >To disable it, set <code>enabled: false</code> in
      ${configFile ?? 'the configuration file'}</span
    >`;
  }
  return actionLink(enabled ? 'disable' : 'enable', id, `peer-${id}`);
}

const REASONS: Readonly<Record<string, string>> = {
  wrong_secret: 'wrong secret',
  unknown_peer: 'not on the list',
  disabled_peer: 'it is disabled',
  malformed_peer: 'its entry is malformed',
  malformed: 'malformed credentials',
  missing: 'no credentials',
  throttled: 'too many failures',
  subject_unknown: 'an identity that no peer has',
  ROLE_MISSING: 'it lacks the role',
  TOKEN_NOT_GRANTED: 'the token is not granted to it',
};

function reasonWords(reason: string | undefined): string {
  return reason === undefined ? 'no reason given' : (REASONS[reason] ?? reason);
}

const OUTCOMES: Readonly<Record<string, readonly [Tone, string]>> = {
  unavailable: ['bad', 'got no token'],
  login_failed: ['warning', 'could not log in'],
  throttled: ['warning', 'was asked to slow down'],
  denied: ['warning', 'was refused'],
  invalid: ['warning', 'asked for something invalid'],
  rotated: ['good', 'rotated'],
  rotation_failed: ['bad', 'rotation failed'],
  repaired: ['good', 'repaired'],
  peer_disabled: ['warning', 'disabled a peer'],
  peer_enabled: ['good', 'enabled a peer'],
  action_failed: ['bad', 'could not do it'],
};

function eventRow(event: RecentEvent, now: number): Html {
  const [tone, words] = OUTCOMES[event.outcome] ?? (['warning', event.outcome] as const);
  const about = [event.token, event.subject].filter((one) => one !== undefined).join(', ');
  const reason =
    event.reason === undefined || event.reason === words ? '' : reasonWords(event.reason);
  return html`<tr>
    <td>
      ${instant(event.at, `${lengthOf(now - event.at)} ago`)}${event.times > 1 && html`<span class="quiet">${event.times} times</span>`}
    </td>
    <td>
      ${mark(tone)}${words}${about !== '' && html` <b>${about}</b>`}${reason !== '' && html`<span class="quiet">${reason}</span>`}
    </td>
    <td>
      ${event.peer ?? (event.remoteAddress === undefined ? 'this broker' : 'unknown')}<span
        class="quiet"
        >${event.remoteAddress ?? event.method}</span
      >
    </td>
  </tr>`;
}
