import { IncomingMessage } from 'node:http';
import { randomBytes } from 'node:crypto';
import { isTokenName } from '../../peers/peers.js';
import {
  COMMON_HEADERS,
  headerOf,
  plainPath,
  queryOf,
  type Endpoint,
  type EndpointAnswer,
  type EndpointRequest,
  type ServingObserver,
} from '../../serving/endpoint.js';
import { readForm, type Form } from '../../serving/form.js';
import {
  decide,
  refuseAccess,
  unauthorizedAnswer,
  type LoggedInPeer,
  type PeerAuthentication,
} from '../../serving/peer-login.js';
import type { Clock } from '../../tokens/time.js';
import { noteUpdate } from '../request-log.js';
import type { Html } from './html.js';
import { PAGE_SCRIPT, PAGE_STYLE } from './page-assets.js';
import type { PageSource, ProcessFacts } from './page-facts.js';
import {
  FormTokens,
  isForwarded,
  isLoopbackName,
  isOwnForm,
  isOwnHost,
  PAGE_HEADERS,
} from './page-guard.js';
import { createStatusModel, type StatusView } from './page-model.js';
import {
  actionOf,
  performAction,
  questionOf,
  type Action,
  type PageActions,
} from './page-actions.js';
import { confirmPage, messagePage, type Notice, type Viewer } from './page-shell.js';
import { statusPage } from './page-view.js';

/** What dev mode adds to the page, for whoever opens it on this machine. */
export interface PageDevelopment {
  /** Who acts. */
  readonly viewer: LoggedInPeer;
  /** Sections: the token, claim by claim, and a form whose fields get this hidden one. */
  sections(formToken: string): Promise<Html>;
  /** What became of the form. */
  answer(form: Form): Promise<Html>;
}

/** What the status page works with. */
export interface StatusPageOptions {
  readonly source: PageSource;
  /** Names that it answers to, besides those of this machine and IP addresses. */
  readonly hosts: readonly string[];
  readonly login: PeerAuthentication;
  readonly actions: PageActions;
  readonly observer: ServingObserver;
  readonly clock: Clock;
  readonly development?: PageDevelopment | undefined;
}

/** How long what was found out is shown to everybody who asks, in milliseconds. */
const FACTS_LIFE = 1_000;
const MOST_NOTICES = 50;
const MOST_FORM_BYTES = 16_384;

type Visitor = { readonly peer: LoggedInPeer | undefined } | { readonly refusal: EndpointAnswer };

/**
 * The status page, at the paths of `PAGE_PATHS`.
 *
 * - Any other `Host` than this machine's, an IP address or a configured name: 421 (RFC 9110 §15.5.20).
 * - Without credentials it shows what health and metrics show. A peer with the role `admin` (HTTP Basic) also sees peers and
 *   events, and acts: each action asks first, and takes only a form that this page has shown.
 */
export class StatusPage implements Endpoint {
  readonly #options: StatusPageOptions;
  readonly #forms = new FormTokens(randomBytes(32));
  readonly #notices = new Map<string, { readonly peer: string; readonly notice: Notice }>();
  #facts: { readonly at: number; readonly found: Promise<ProcessFacts> } | undefined;

  constructor(options: StatusPageOptions) {
    this.#options = options;
  }

  async answer(request: EndpointRequest): Promise<EndpointAnswer> {
    try {
      return await this.#answer(request);
    } catch (error) {
      this.#options.observer.failed?.(error);
      return page(500, messagePage({ title: 'A bug', words: 'The log says more.' }));
    }
  }

  async #answer(request: EndpointRequest): Promise<EndpointAnswer> {
    const { hosts } = this.#options;
    const [host] = request.headers['host'] ?? [];
    if (!isOwnHost(host, hosts)) return MISDIRECTED;
    const path = plainPath(request.url);
    const isRead = request.method === 'GET' || request.method === 'HEAD';
    const takes = path === '/act' || path === '/try' ? 'POST' : 'GET, HEAD';
    if (isRead === (takes === 'POST') || (!isRead && request.method !== 'POST')) {
      const words = `This page takes ${takes}.`;
      return page(405, messagePage({ title: 'Not this way', words }), ['Allow', takes]);
    }
    if (path === '/page.css') return STYLE;
    if (path === '/page.js') return SCRIPT;
    if (path === '/runbook') return runbook();
    if (path === '/sign-out') return this.#signOut(request);
    const visitor = await this.#visitor(request);
    if ('refusal' in visitor) return visitor.refusal;
    const { peer } = visitor;
    if (path === '/') return this.#status(request, peer);
    if (peer === undefined) return this.#challenge(request);
    switch (path) {
      case '/confirm':
        return this.#confirm(request, peer);
      case '/act':
        return this.#act(request, peer);
      case '/try':
        return this.#try(request, peer);
      default:
        // Signed in, which is all that /sign-in is for.
        return seeOther('./');
    }
  }

  /** Who looks: nobody in particular, or a peer with the role `admin`. */
  async #visitor(request: EndpointRequest): Promise<Visitor> {
    const { login, observer } = this.#options;
    if (request.headers['authorization'] === undefined) {
      return { peer: this.#developer(request) };
    }
    const result = await login.withHeader(request);
    if ('refusal' in result) return { refusal: asPage(result.refusal, request) };
    const refusal = refuseAccess(result.peer, { role: 'admin' }, observer, undefined, request);
    if (refusal === undefined) return result;
    const words = `The peer ${result.peer.id} does not have the role admin. Sign out to see the status, or to sign in as another peer.`;
    const { id } = result.peer;
    const viewer = { id, isAutomatic: false };
    return { refusal: page(403, messagePage({ title: 'Not for this peer', words, viewer })) };
  }

  /** In dev mode, whoever sits at this machine: never what a proxy passes on. */
  #developer(request: EndpointRequest): LoggedInPeer | undefined {
    const { development } = this.#options;
    const { headers, remoteAddress, source } = request;
    if (development === undefined || !isLoopbackAddress(remoteAddress)) return undefined;
    // No browser speaks HTTP/1.0: proxies do that add no header at all, as nginx where it is told nothing else.
    const isOld =
      source instanceof IncomingMessage &&
      source.httpVersionMajor * 10 + source.httpVersionMinor < 11;
    const isHere = isLoopbackName(headers['host']?.[0]);
    return isHere && !isOld && !isForwarded(request) ? development.viewer : undefined;
  }

  #viewer(peer: LoggedInPeer | undefined): Viewer | undefined {
    const isAutomatic = peer === this.#options.development?.viewer;
    return peer && { id: peer.id, isAutomatic };
  }

  #challenge(request: EndpointRequest): EndpointAnswer {
    const { login } = this.#options;
    return asPage(login.unauthorized?.() ?? unauthorizedAnswer(), request);
  }

  /** Browsers forget credentials that are refused. */
  #signOut(request: EndpointRequest): EndpointAnswer {
    if (request.headers['authorization'] === undefined) return seeOther('./');
    const words = 'If your browser asked again, cancel was right: it has forgotten the secret.';
    const { login } = this.#options;
    const challenge = login.unauthorized?.() ?? unauthorizedAnswer();
    const header = headerOf(challenge, 'WWW-Authenticate') ?? 'Basic';
    const body = messagePage({ title: 'Signed out', words });
    return page(401, body, ['WWW-Authenticate', header]);
  }

  async #status(request: EndpointRequest, peer: LoggedInPeer | undefined): Promise<EndpointAnswer> {
    const { source, development } = this.#options;
    const query = queryOf(request.url);
    const view = viewOf(query);
    // The page's own script, every five seconds.
    if (request.headers['sec-fetch-dest']?.[0] === 'empty') noteUpdate(request.source);
    const facts = await this.#currentFacts();
    const insider = peer === undefined ? undefined : source.privateFacts();
    const model = createStatusModel(facts, (name) => source.details(name), insider, view);
    const told = this.#notices.get(query.get('told') ?? '');
    const notice = told !== undefined && told.peer === peer?.id ? told.notice : undefined;
    const viewer = this.#viewer(peer);
    const extra =
      peer !== undefined && peer === development?.viewer
        ? await development.sections(this.#issue(peer, TRY))
        : undefined;
    const isOpenToEavesdroppers = !request.encrypted && !isLoopbackAddress(request.remoteAddress);
    const { configFile } = source;
    const rest = { viewer, view, notice, extra, configFile, isOpenToEavesdroppers };
    return page(200, statusPage(model, rest));
  }

  /** What everybody sees who asks within a second. */
  #currentFacts(): Promise<ProcessFacts> {
    const now = this.#options.clock.now();
    const age = this.#facts === undefined ? FACTS_LIFE : Math.abs(now - this.#facts.at);
    if (this.#facts === undefined || age >= FACTS_LIFE) {
      const found = this.#options.source.facts();
      // Not kept when it fails: the next one tries again.
      found.catch(() => (this.#facts = undefined));
      this.#facts = { at: now, found };
    }
    return this.#facts.found;
  }

  #issue(peer: LoggedInPeer, what: readonly string[]): string {
    return this.#forms.issue(peer.id, what, this.#options.clock.now());
  }

  #confirm(request: EndpointRequest, peer: LoggedInPeer): EndpointAnswer {
    const query = queryOf(request.url);
    const asked = actionOf((name) => query.get(name) ?? undefined);
    const viewer = this.#viewer(peer) ?? { id: peer.id, isAutomatic: false };
    if (asked === undefined) return page(404, messagePage({ ...UNKNOWN_ACTION, viewer }));
    const fields = { ...asked.fields, form: this.#issue(peer, asked.what) };
    return page(200, confirmPage({ ...questionOf(asked), fields, viewer }));
  }

  /** The form of a request that this page has shown to this peer; else the refusal. */
  async #form(
    request: EndpointRequest,
    peer: LoggedInPeer,
    whatOf: (form: Form) => readonly string[] | undefined,
  ): Promise<{ readonly form: Form } | { readonly refusal: EndpointAnswer }> {
    const { observer, clock } = this.#options;
    const viewer = this.#viewer(peer);
    const refuse = (status: number, reason: string, title: string, words: string): Refused => {
      decide(observer, peer, { outcome: 'invalid', reason }, request);
      return { refusal: page(status, messagePage({ title, words, viewer })) };
    };
    if (!isOwnForm(request)) {
      const words =
        'This form was sent by another site, or by a program that does not say where it comes from. Nothing was done.';
      return refuse(403, 'FORM_FORGED', 'Refused', words);
    }
    const body = await bodyOf(request);
    if (body === undefined) {
      return refuse(413, 'INVALID_REQUEST', 'Too large', 'The form is too large.');
    }
    const form = readForm({ ...request, body });
    if (!('get' in form)) {
      return refuse(form.status, 'INVALID_REQUEST', 'Not a form', 'Nothing was done.');
    }
    const what = whatOf(form);
    const [token = ''] = form.get('form') ?? [];
    if (what === undefined || !this.#forms.accepts(token, peer.id, what, clock.now())) {
      const words =
        'This form was shown more than ten minutes ago, or by another process. Nothing was done: go back to the status and try again.';
      return refuse(403, 'FORM_EXPIRED', 'Too old', words);
    }
    return { form };
  }

  async #act(request: EndpointRequest, peer: LoggedInPeer): Promise<EndpointAnswer> {
    let asked: Action | undefined;
    const sent = await this.#form(request, peer, (form) => {
      asked = actionOf((name) => form.get(name)?.[0]);
      return asked?.what;
    });
    if ('refusal' in sent) return sent.refusal;
    if (asked === undefined) throw new TypeError('An accepted form names an action.');
    const notice = await performAction(asked, peer, request, this.#options);
    const id = randomBytes(12).toString('base64url');
    this.#notices.set(id, { peer: peer.id, notice });
    const [oldest] = this.#notices.keys();
    if (this.#notices.size > MOST_NOTICES && oldest !== undefined) this.#notices.delete(oldest);
    // What was found out before is out of date.
    this.#facts = undefined;
    return seeOther(`./?told=${id}`);
  }

  async #try(request: EndpointRequest, peer: LoggedInPeer): Promise<EndpointAnswer> {
    const { development } = this.#options;
    const viewer = this.#viewer(peer);
    if (development === undefined || peer !== development.viewer) {
      const words = 'Only dev mode mints tokens of customers.';
      return page(404, messagePage({ title: 'Not here', words, viewer }));
    }
    const sent = await this.#form(request, peer, () => TRY);
    if ('refusal' in sent) return sent.refusal;
    return page(200, await development.answer(sent.form));
  }
}

type Refused = { readonly refusal: EndpointAnswer };

const TRY = ['try'];

const UNKNOWN_ACTION = {
  title: 'No such action',
  words: 'The link is wrong, or of another version of the broker.',
};

function viewOf(query: URLSearchParams): StatusView {
  const token = query.get('token');
  return {
    token: isTokenName(token) ? token : undefined,
    tokensPage: pageNumber(query.get('tokens')),
    peersPage: pageNumber(query.get('peers')),
    peer: (query.get('peer') ?? '').trim().slice(0, 64),
  };
}

function pageNumber(text: string | null): number {
  return text !== null && /^[1-9]\d{0,5}$/.test(text) ? Number(text) : 1;
}

function isLoopbackAddress(address: string): boolean {
  return /^(?:::ffff:)?127\.|^::1$/.test(address);
}

/** The form of a request, parsed by the framework or here; `undefined` when it is too large. */
async function bodyOf({ body, source }: EndpointRequest): Promise<unknown> {
  if (body !== undefined && body !== null) return body;
  if (!(source instanceof IncomingMessage) || source.readableEnded) return {};
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of source as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > MOST_FORM_BYTES) return undefined;
      chunks.push(chunk);
    }
  } catch (error) {
    // Who sent half a form and left is no failure of this process: half a form is none.
    if (source.complete) throw error;
    return {};
  }
  const fields: Record<string, string | string[]> = Object.create(null) as Record<string, string>;
  for (const [name, value] of new URLSearchParams(Buffer.concat(chunks).toString('utf8'))) {
    const known = fields[name];
    fields[name] = known === undefined ? value : [known, value].flat();
  }
  return { ...fields };
}

function page(status: number, body: Html, headers: readonly string[] = []): EndpointAnswer {
  return document(status, 'text/html; charset=utf-8', Buffer.from(body.toString()), headers);
}

function document(
  status: number,
  type: string,
  body: Buffer,
  headers: readonly string[] = [],
): EndpointAnswer {
  const length = ['Content-Type', type, 'Content-Length', String(body.length)];
  return { status, headers: [...length, ...COMMON_HEADERS, ...PAGE_HEADERS, ...headers], body };
}

/** For everybody: what is in it is the same for all. Read when it is first asked for. */
async function runbook(): Promise<EndpointAnswer> {
  const { noRunbookPage, runbookPage } = await import('./runbook-page.js');
  const found = runbookPage();
  return found === undefined ? page(404, noRunbookPage()) : page(200, found);
}

function seeOther(location: string): EndpointAnswer {
  return document(303, 'text/plain; charset=utf-8', Buffer.alloc(0), ['Location', location]);
}

/**
 * A refusal of the login as a page. Only who navigates is asked for credentials: a script that updates the page would
 * bring up the browser's question.
 */
function asPage(refusal: EndpointAnswer, request: EndpointRequest): EndpointAnswer {
  const { status } = refusal;
  const [destination = 'document'] = request.headers['sec-fetch-dest'] ?? [];
  const kept = ['Retry-After', ...(destination === 'document' ? ['WWW-Authenticate'] : [])];
  const headers = kept.flatMap((name) => {
    const value = headerOf(refusal, name);
    return value === undefined ? [] : [name, value];
  });
  const [title, words] = REFUSALS[status] ?? REFUSALS[400] ?? [];
  return page(status, messagePage({ title: title ?? '', words: words ?? '' }), headers);
}

const REFUSALS: Readonly<Record<number, readonly [string, string]>> = {
  400: ['Refused', 'The credentials are malformed, or there are several.'],
  401: ['Not signed in', 'This needs the id and the secret of a peer with the role admin.'],
  429: ['Too many failures', 'Wait a minute before you try again, with the right secret.'],
  500: ['A bug', 'The log says more.'],
  503: ['Nobody can sign in', 'The list of peers cannot be read at the moment. The log says why.'],
};

const STYLE = document(200, 'text/css; charset=utf-8', Buffer.from(PAGE_STYLE));
const SCRIPT = document(200, 'text/javascript; charset=utf-8', Buffer.from(PAGE_SCRIPT));
const MISDIRECTED = document(
  421,
  'text/plain; charset=utf-8',
  Buffer.from(
    'The status page does not answer to this name. Ask for it by an IP address or localhost, or add the name to BROKER_MANAGEMENT_HOSTS.\n',
  ),
  ['Connection', 'close'],
);
