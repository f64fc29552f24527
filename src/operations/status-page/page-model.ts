import { redactText } from '../../tokens/redaction.js';
import type {
  PeerFacts,
  PrivateFacts,
  ProcessFacts,
  ProviderFacts,
  TokenDetails,
  TokenStanding,
} from './page-facts.js';
import type { PeerActivity, RecentEvent } from './recent-activity.js';

/** How something is. Never shown by colour alone. */
export type Tone = 'good' | 'warning' | 'bad';

/** Something that is wrong, and what to do. */
export interface Problem {
  readonly tone: Exclude<Tone, 'good'>;
  readonly title: string;
  /** Sentences: what is wrong and what to do. */
  readonly reason: string;
  readonly code: string | undefined;
  /** The section of the runbook. */
  readonly runbook: string;
  /** The tokens that it is about. */
  readonly tokens: readonly string[];
}

/** One token in a row of the list. */
export interface TokenRow {
  readonly name: string;
  readonly tone: Tone;
  readonly words: string;
  readonly standing: TokenStanding;
}

/** One token with everything. */
export interface TokenCard extends TokenRow {
  readonly details: TokenDetails;
}

/** A line of "Store and provider". */
export interface HealthLine {
  readonly label: string;
  readonly tone: Tone;
  readonly words: string;
}

/** A peer, and what it has asked. */
export interface PeerRow {
  readonly peer: PeerFacts;
  readonly activity: PeerActivity | undefined;
}

/** A part of a long list. */
export interface Paged<Item> {
  readonly items: readonly Item[];
  /** From 1 on. */
  readonly page: number;
  readonly pages: number;
  readonly total: number;
}

/** What only an admin sees. */
export interface PrivateModel {
  readonly peers: Paged<PeerRow>;
  readonly malformed: number;
  readonly events: readonly RecentEvent[];
  readonly listReads: number;
}

/** Everything that the page shows. */
export interface StatusModel {
  readonly now: number;
  readonly startedAt: number;
  readonly tone: Tone;
  readonly headline: string;
  readonly summary: string;
  readonly isDevelopment: boolean;
  readonly problems: readonly Problem[];
  /** How many there are besides. */
  readonly moreProblems: number;
  readonly cards: readonly TokenCard[];
  /** With more tokens than there are cards. */
  readonly rows: Paged<TokenRow> | undefined;
  readonly health: readonly HealthLine[];
  readonly insider: PrivateModel | undefined;
}

/** What somebody wants to see. */
export interface StatusView {
  /** The token that is shown in full. */
  readonly token: string | undefined;
  readonly tokensPage: number;
  readonly peersPage: number;
  /** Part of a peer's id. */
  readonly peer: string;
}

/** Tokens that are all shown in full. */
const MOST_CARDS = 2;
const TOKENS_PER_PAGE = 15;
const PEERS_PER_PAGE = 15;
const MOST_PROBLEMS = 4;
const MOST_PROVIDERS = 6;

/** What the page shows. Pure: it asks `details` about the tokens that are shown in full, and only about them. */
export function createStatusModel(
  facts: ProcessFacts,
  details: (token: string) => TokenDetails,
  insider: PrivateFacts | undefined,
  view: StatusView,
): StatusModel {
  const problems = findProblems(facts);
  const rows = facts.tokens
    .map((standing): TokenRow => judgeToken(standing))
    // The sort is stable: equal ones stay in the order of the configuration.
    .toSorted((one, other) => RANK[one.tone] - RANK[other.tone]);
  const chosen = rows.find(({ name }) => name === view.token);
  const inFull =
    rows.length <= MOST_CARDS
      ? facts.tokens.flatMap(({ name }) => rows.find((row) => row.name === name) ?? [])
      : [chosen ?? rows[0]].filter((row) => row !== undefined);
  return {
    now: facts.now,
    startedAt: facts.startedAt,
    isDevelopment: facts.isDevelopment,
    ...verdict(facts, rows, problems),
    problems: problems.slice(0, MOST_PROBLEMS),
    moreProblems: Math.max(0, problems.length - MOST_PROBLEMS),
    cards: inFull.map(({ name, tone, words, standing }) => {
      return { name, tone, words, standing, details: details(name) };
    }),
    rows: rows.length <= MOST_CARDS ? undefined : paged(rows, view.tokensPage, TOKENS_PER_PAGE),
    health: healthLines(facts),
    insider: insider && {
      peers: paged(peerRows(insider, view.peer), view.peersPage, PEERS_PER_PAGE),
      malformed: insider.malformed,
      events: insider.events.slice(0, 20),
      listReads: insider.listReads,
    },
  };
}

const RANK: Readonly<Record<Tone, number>> = { bad: 0, warning: 1, good: 2 };

function paged<Item>(all: readonly Item[], wanted: number, size: number): Paged<Item> {
  const pages = Math.max(1, Math.ceil(all.length / size));
  const page = Math.min(Math.max(1, wanted), pages);
  return { items: all.slice((page - 1) * size, page * size), page, pages, total: all.length };
}

function judgeToken(standing: TokenStanding): TokenRow {
  const { name, token, rotation, coverage } = standing;
  const row = (tone: Tone, words: string): TokenRow => ({ name, tone, words, standing });
  if (!token.ok) return row('bad', 'cannot be served');
  if (token.refused === true) return row('bad', 'served, and receivers refuse it');
  if (token.stale === true) return row('warning', 'served from the cache');
  if (rotation?.ok === false) {
    return row('warning', rotation.missedSlots ? 'served, not rotated' : 'served, rotation fails');
  }
  if (coverage?.ok === false) return row('warning', 'served, too short-lived');
  return row('good', 'served');
}

function verdict(
  { isStopping, tokens, now }: ProcessFacts,
  rows: readonly TokenRow[],
  problems: readonly Problem[],
): Pick<StatusModel, 'tone' | 'headline' | 'summary'> {
  const served = tokens.filter(({ token }) => token.ok).length;
  const summary = summaryOf(tokens, served, now);
  if (isStopping) {
    return { tone: 'warning', headline: 'The broker is stopping', summary };
  }
  if (served === 0) {
    const one = tokens.length === 1;
    return { tone: 'bad', headline: `No ${one ? 'token' : 'token at all'} can be served`, summary };
  }
  const failing = tokens.length - served;
  if (failing > 0) {
    const headline = `${failing} of ${tokens.length} tokens cannot be served`;
    return { tone: 'bad', headline, summary };
  }
  if (rows.some(({ tone }) => tone === 'bad')) {
    return { tone: 'bad', headline: 'Receivers refuse a token that is served', summary };
  }
  if (problems.length === 0) return { tone: 'good', headline: 'Everything is well', summary };
  const worst = problems.some(({ tone }) => tone === 'bad') ? 'bad' : 'warning';
  const count = problems.length === 1 ? 'one thing needs' : `${problems.length} things need`;
  return { tone: worst, headline: `Serving, and ${count} a look`, summary };
}

function summaryOf(tokens: readonly TokenStanding[], served: number, now: number): string {
  const [only] = tokens;
  if (tokens.length === 1 && only !== undefined) {
    if (!only.token.ok || only.expiresAt === undefined) return 'Peers that ask now get 503.';
    return `Peers get a token that lives for another ${lengthOf(only.expiresAt - now)}.`;
  }
  if (served === 0) return 'Peers that ask now get 503.';
  const soonest = Math.min(
    ...tokens.flatMap(({ token, expiresAt }) =>
      token.ok && expiresAt !== undefined ? expiresAt : [],
    ),
  );
  const least = Number.isFinite(soonest)
    ? ` The shortest lives for ${lengthOf(soonest - now)}.`
    : '';
  return `${served} of ${tokens.length} tokens can be served.${least}`;
}

/** The sections of the runbook, by what is wrong. */
export const RUNBOOK = {
  token: 'tokens_unavailable_total',
  refused: 'token_accepted',
  stale: 'store_reads_total',
  rotation: 'rotations_total',
  coverage: 'token_remaining_seconds',
  peers: 'store_reads_total',
  clock: 'clock_offset_seconds',
  certificate: 'tls_certificate_expires_timestamp_seconds',
  configFile: 'config_file_valid',
  audit: 'audit_dropped_total',
  log: 'log_lines_dropped_total',
} as const;

interface Fault {
  readonly ok: boolean;
  readonly reason?: string;
  readonly code?: string;
}

/** Everything that is wrong: the worst first, and the same fault of many tokens once. */
function findProblems(facts: ProcessFacts): readonly Problem[] {
  const found = new Map<string, Problem>();
  const add = (
    about: keyof typeof RUNBOOK,
    tone: Problem['tone'],
    title: string,
    fault: Omit<Fault, 'ok'>,
    token?: string,
  ): void => {
    const { code } = fault;
    const key = `${about} ${code ?? ''}`;
    const known = found.get(key);
    const tokens = token === undefined ? [] : [token];
    found.set(
      key,
      known === undefined
        ? { tone, title, reason: plainWords(fault.reason), code, runbook: RUNBOOK[about], tokens }
        : { ...known, tokens: [...known.tokens, ...tokens] },
    );
  };
  for (const { name, token, rotation, coverage } of facts.tokens) {
    if (!token.ok) add('token', 'bad', 'A token cannot be served', token, name);
    else if (token.refused === true)
      add('refused', 'bad', 'Receivers refuse the token', token, name);
    else if (token.stale === true) {
      add('stale', 'warning', 'The secret store cannot be read', token, name);
    }
    if (rotation?.ok === false) {
      const title = rotation.missedSlots ? 'Rotations were missed' : 'The rotation fails';
      add('rotation', 'warning', title, rotation, name);
    }
    if (coverage?.ok === false) {
      add('coverage', 'warning', 'Tokens live too short for the schedule', coverage, name);
    }
  }
  const { peers, clock, certificate, configFile, audit, droppedLogLines } = facts;
  if (peers?.ok === false) {
    const isStale = peers.stale === true;
    const title = isStale ? 'The list of peers is an old one' : 'Nobody can log in';
    add('peers', isStale ? 'warning' : 'bad', title, peers);
  }
  if (clock?.ok === false) add('clock', 'warning', "This machine's clock is off", clock);
  if (certificate?.ok === false) {
    add('certificate', 'bad', 'The TLS certificate has expired', certificate);
  }
  if (configFile?.isValid === false) {
    // Without its path: whoever has not signed in sees this.
    const reason =
      'It was changed and has mistakes: what it said before stays in effect, and a restart would fail. The log names the file and the mistakes.';
    add('configFile', 'warning', 'The configuration file has mistakes', { reason });
  }
  if (audit.dropped > 0) {
    const reason = `${audit.dropped} events of the audit were dropped since the start: its file or standard output is too slow, or cannot be written.`;
    add('audit', 'warning', 'The audit has gaps', { reason });
  }
  if (droppedLogLines > 0) {
    const reason = `${droppedLogLines} lines of the log were dropped since the start: nobody reads standard output, or the disk is full.`;
    add('log', 'warning', 'The log has gaps', { reason });
  }
  return [...found.values()].toSorted((one, other) => RANK[one.tone] - RANK[other.tone]);
}

/** Reasons name documents of the runbook at their end, where the page has a link. */
function plainWords(reason = 'The log says more.'): string {
  return redactText(reason).replace(/ What to do: docs\/\S+$/, '');
}

function healthLines(facts: ProcessFacts): readonly HealthLine[] {
  const { store, peers, clock, certificate, configFile, audit } = facts;
  const { failure } = store;
  const line = (label: string, tone: Tone, words: string): HealthLine => ({ label, tone, words });
  return [
    failure === undefined
      ? line('Secret store', 'good', `${store.name}: reads succeed`)
      : line(
          'Secret store',
          'bad',
          `${store.name}: ${plainWords(failure.reason)} (${failure.code})`,
        ),
    ...providerLines(facts.providers, facts.now),
    peers === undefined || peers.ok
      ? line('List of peers', 'good', peers === undefined ? 'not needed yet' : 'can be read')
      : line('List of peers', peers.stale === true ? 'warning' : 'bad', plainWords(peers.reason)),
    ...(clock === undefined
      ? []
      : [
          clock.ok
            ? line('Clock', 'good', 'agrees with those of provider and store')
            : line('Clock', 'warning', plainWords(clock.reason)),
        ]),
    ...(certificate === undefined
      ? []
      : [
          line(
            'TLS certificate',
            certificate.ok ? 'good' : 'bad',
            `${certificate.ok ? 'valid until' : 'expired at'} ${certificate.expiresAt}`,
          ),
        ]),
    ...(configFile === undefined
      ? []
      : [
          configFile.isValid
            ? line('Configuration file', 'good', 'as it was read last, without mistakes')
            : line('Configuration file', 'warning', 'has mistakes, and changes nothing'),
        ]),
    audit.isOn
      ? line(
          'Audit',
          audit.dropped > 0 ? 'warning' : 'good',
          audit.dropped > 0 ? `${audit.dropped} events were dropped` : 'written, without gaps',
        )
      : line('Audit', 'good', 'off: set BROKER_AUDIT to write one'),
  ];
}

function providerLines(providers: readonly ProviderFacts[], now: number): readonly HealthLine[] {
  const lines = providers
    .map((provider): HealthLine => {
      const { name, keys, lastMint, tokens } = provider;
      const label = providers.length === 1 ? 'Provider' : `Provider ${name}`;
      const isBad = keys === 'expired' || (lastMint !== undefined && lastMint.code !== 'OK');
      return {
        label,
        tone: isBad ? 'bad' : keys === 'stale' ? 'warning' : 'good',
        words: [
          lastMint === undefined
            ? 'not asked for a token since the start'
            : lastMint.code === 'OK'
              ? `minted a token ${lengthOf(now - lastMint.at)} ago`
              : `failed ${lengthOf(now - lastMint.at)} ago (${lastMint.code})`,
          keys === undefined || keys === 'empty' ? 'keys not needed yet' : `keys are ${keys}`,
          ...(tokens > 1 ? [`${tokens} tokens`] : []),
        ].join(' · '),
      };
    })
    .toSorted((one, other) => RANK[one.tone] - RANK[other.tone]);
  const more = lines.length - MOST_PROVIDERS;
  if (more <= 0) return lines;
  const rest = { label: 'Other providers', tone: lines[MOST_PROVIDERS]?.tone ?? 'good' };
  return [...lines.slice(0, MOST_PROVIDERS), { ...rest, words: `${more} more` }];
}

/** Those that were refused lately first, then those that asked last; the others by id. */
function peerRows({ peers, activity }: PrivateFacts, part: string): readonly PeerRow[] {
  const wanted = part.toLowerCase();
  const rows = peers
    .filter(({ id }) => wanted === '' || id.toLowerCase().includes(wanted))
    .map((peer): PeerRow => ({ peer, activity: activity.get(peer.id) }));
  const at = ({ activity: known }: PeerRow): number =>
    Math.max(known?.refusedAt ?? 0, known?.lastAt ?? 0);
  return rows.toSorted(
    (one, other) => at(other) - at(one) || (one.peer.id < other.peer.id ? -1 : 1),
  );
}

/** Up from so many of a unit; the unit, and the one that its rest is in. */
const UNITS = [
  [2, 'd', 86_400_000, 'h', 3_600_000],
  [1, 'h', 3_600_000, 'min', 60_000],
  [1, 'min', 60_000, 's', 1_000],
] as const;

/** A span in words: `2 d 3 h`, `25 h 12 min`, `45 s`. Pure. @param milliseconds negative ones count as 0. */
export function lengthOf(milliseconds: number): string {
  const span = Math.max(0, milliseconds);
  for (const [least, unit, size, small, part] of UNITS) {
    if (span < least * size) continue;
    const rest = Math.floor((span % size) / part);
    return `${Math.floor(span / size)} ${unit}${rest === 0 ? '' : ` ${rest} ${small}`}`;
  }
  return `${Math.floor(span / 1_000)} s`;
}

/** A part of a token's life, from 0 to 1. Pure. */
export function shareOf(
  at: number,
  { from, to }: { readonly from: number; readonly to: number },
): number {
  return to <= from ? 1 : Math.min(1, Math.max(0, (at - from) / (to - from)));
}
