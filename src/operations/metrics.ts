import {
  collectDefaultMetrics,
  Counter,
  Gauge,
  Histogram,
  Registry,
  type CounterConfiguration,
  type LabelValues,
} from 'prom-client';
import { isSuccess } from '../rotation/rotation.js';
import { looksSecret } from '../tokens/redaction.js';
import { CLOCK_SOURCES, type ClockSource } from './clock-watch.js';

/** Word characters only: codes such as `STORE_THROTTLED`, words such as `wrong_secret` or `secrets-manager`. */
const LABEL = /^[A-Za-z0-9_-]{1,48}$/;

/**
 * Limits what becomes a metric label. Callers pass stable codes; a mistake of theirs must neither put a secret into a
 * label nor create a series for every request.
 */
export class BoundedLabel {
  readonly #seen = new Set<string>();

  /** @param most how many different words are accepted. Default: 100. */
  constructor(private readonly most = 100) {}

  /** The word, or `other`. */
  of(word: string): string {
    if (this.#seen.has(word)) return word;
    if (this.#seen.size >= this.most || !LABEL.test(word) || looksSecret(word)) return 'other';
    this.#seen.add(word);
    return word;
  }
}

/**
 * A counter for what happens with every request: counting is an addition. prom-client would build a text from the labels
 * each time to find the series; here it does so once per series and scrape.
 */
class Tally<Label extends string> {
  readonly #series = new Map<string, { readonly labels: LabelValues<Label>; count: number }>();

  constructor(configuration: Omit<CounterConfiguration<Label>, 'collect'>) {
    const counter: Counter<Label> = new Counter({
      ...configuration,
      collect: () => {
        for (const series of this.#series.values()) {
          counter.inc(series.labels, series.count);
          series.count = 0;
        }
      },
    });
  }

  /** Counts one. @param labels their names in the same order each time. */
  add(labels: LabelValues<Label>): void {
    let key = '';
    for (const name in labels) key += `${labels[name]} `;
    const series = this.#series.get(key);
    if (series === undefined) this.#series.set(key, { labels, count: 1 });
    else series.count += 1;
  }
}

/** The prefix of every metric's name. */
export const METRICS_PREFIX = 'service_token_broker_';

/** Which secret was read. */
export type SecretRole = 'token' | 'peers' | 'credentials';

/** What is read when metrics are scraped. Nothing here may read the store or call the provider. */
export interface MetricsSources {
  /** The names of the configured tokens: the values of the label `token`. Default: `default` alone. */
  readonly tokens?: readonly string[];
  /** Remaining life of a token's cached version in seconds; `undefined` while none is cached. */
  readonly tokenRemainingSeconds?: (token: string) => number | undefined;
  /** When a token's cached version was minted, in milliseconds since the Unix epoch. */
  readonly tokenGeneratedAt?: (token: string) => number | undefined;
  /** Whether receivers accept a token's cached version; `undefined` while that is unknown. */
  readonly tokenAccepted?: (token: string) => boolean | undefined;
  /** State of the keys of a token's provider; `undefined` until they are needed. */
  readonly jwksStatus?: (token: string) => JwksStatus | undefined;
  /** Lines of the log that were dropped since the start. */
  readonly droppedLogLines?: () => number;
  /** Events of the audit that were dropped since the start. */
  readonly droppedAuditEvents?: () => number;
  /** How many requests are held until a token changes. */
  readonly waitingRequests?: () => number;
  /** State of the configuration file that is followed; `undefined` when there is none. */
  readonly configFile?: () =>
    | {
        readonly isValid: boolean;
        /** In milliseconds since the Unix epoch. */
        readonly appliedAt: number;
      }
    | undefined;
  /** When the certificate of the broker's own TLS ends, in milliseconds since the Unix epoch; `undefined` without TLS. */
  readonly tlsCertificateEndsAt?: () => number | undefined;
  /** How many seconds this machine's clock is behind another; negative when it is ahead. */
  readonly clockOffsetSeconds?: (source: ClockSource) => number | undefined;
}

/** The states of the provider's keys. */
const JWKS_STATUSES = ['empty', 'fresh', 'stale', 'expired'] as const;
type JwksStatus = (typeof JWKS_STATUSES)[number];

/** A finished request: the part of a request record that is counted. */
interface CountedRequest {
  readonly route: string;
  readonly method: string;
  readonly status: number | undefined;
  readonly aborted: boolean;
  /** Whether it was held until a token changed (`Prefer: wait`). Default: false. */
  readonly held?: boolean;
  readonly durationMilliseconds: number;
}

/**
 * The broker's metrics, in a registry of their own. Names and labels are stable: alarms depend on them. Labels hold
 * the broker's own words and stable codes; never a token, a message, or text from outside.
 */
export class BrokerMetrics {
  /** Everything that `GET /metrics` shows. */
  readonly registry = new Registry();

  readonly #code = new BoundedLabel();
  readonly #word = new BoundedLabel();

  readonly #httpRequests = new Tally({
    name: `${METRICS_PREFIX}http_requests_total`,
    help: 'Finished HTTP requests.',
    labelNames: ['route', 'method', 'status'],
    registers: [this.registry],
  });
  readonly #httpDuration = new Histogram({
    name: `${METRICS_PREFIX}http_request_duration_seconds`,
    help: 'Duration of HTTP requests, from the arrival of the head to the end of the answer; without those that were held (Prefer: wait).',
    labelNames: ['route', 'method'],
    // A warm answer takes well under a millisecond; a cold one takes a read of the store.
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [this.registry],
  });
  readonly #tokensServed = new Tally({
    name: `${METRICS_PREFIX}tokens_served_total`,
    help: 'Answers with a service token (or 304), by token and X-Cache state.',
    labelNames: ['token', 'cache'],
    registers: [this.registry],
  });
  readonly #tokensUnavailable = this.#counter(
    'tokens_unavailable_total',
    'Authenticated peers that could not get a service token, by token and error code.',
    ['token', 'code'],
  );
  readonly #loginFailures = this.#counter('peer_login_failures_total', 'Failed peer logins.', [
    'reason',
  ]);
  readonly #tokenDecisions = new Tally({
    name: `${METRICS_PREFIX}token_decisions_total`,
    help: 'Tokens that gateways and receivers asked about, by endpoint and outcome: the kind of the token, or a code.',
    labelNames: ['endpoint', 'outcome'],
    registers: [this.registry],
  });
  readonly #storeReads = this.#counter(
    'store_reads_total',
    'Reads of the secret store, by secret and by code (OK or an error code); of token secrets, by token.',
    ['secret', 'token', 'code'],
  );
  readonly #storeReadDuration = new Histogram({
    name: `${METRICS_PREFIX}store_read_duration_seconds`,
    help: 'Duration of successful reads of the secret store.',
    labelNames: ['secret'],
    buckets: [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers: [this.registry],
  });
  readonly #fallbackReads = this.#counter(
    'store_fallback_reads_total',
    "Reads that another Region's replica answered, because the home Region did not.",
    ['region'],
  );
  readonly #mints = this.#counter(
    'provider_mints_total',
    'Service tokens asked of their providers, by token and code (OK or an error code).',
    ['token', 'code'],
  );
  readonly #rotationSteps = this.#counter(
    'rotation_steps_total',
    'Rotation steps that ended, by token, step and outcome.',
    ['token', 'step', 'outcome'],
  );
  readonly #rotations = this.#counter(
    'rotations_total',
    'Rotations that ended, by token, trigger, result and code (OK or an error code).',
    ['token', 'trigger', 'result', 'code'],
  );
  readonly #connections = new Gauge({
    name: `${METRICS_PREFIX}connections`,
    help: 'Open connections of callers.',
    registers: [this.registry],
  });
  readonly #connectionsRefused = this.#counter(
    'connections_refused_total',
    'Connections beyond BROKER_MAX_CONNECTIONS, by how they were refused: answered with 503, or reset.',
    ['how'],
  );
  readonly #descriptorsExhausted = new Gauge({
    name: `${METRICS_PREFIX}descriptors_exhausted`,
    help: 'Whether the process cannot open files or connections any more: 1 if so, else 0.',
    registers: [this.registry],
  });
  readonly #clockReadings = this.#counter(
    'clock_readings_total',
    "Comparisons of this machine's clock with another's, by what they found: ok, behind or ahead.",
    ['source', 'state'],
  );
  readonly #lastSuccess = new Map<string, number>();

  constructor(sources: MetricsSources = {}) {
    collectDefaultMetrics({ register: this.registry, prefix: METRICS_PREFIX });
    const { tokens = [DEFAULT_TOKEN] } = sources;
    const perToken = (
      name: string,
      help: string,
      read: (token: string) => number | undefined,
    ): void =>
      this.#scraped(name, help, ['token'], (gauge) => {
        for (const token of tokens) gauge.set({ token }, read(token) ?? UNKNOWN);
      });
    perToken('token_remaining_seconds', TOKEN_HELP, (token) =>
      sources.tokenRemainingSeconds?.(token),
    );
    perToken('token_generated_timestamp_seconds', GENERATED_HELP, (token) =>
      seconds(sources.tokenGeneratedAt?.(token)),
    );
    perToken('token_accepted', ACCEPTED_HELP, (token) => {
      const accepted = sources.tokenAccepted?.(token);
      return accepted === undefined ? undefined : Number(accepted);
    });
    perToken('last_rotation_success_timestamp_seconds', ROTATION_HELP, (token) =>
      seconds(this.#lastSuccess.get(token)),
    );
    this.#scraped('clock_offset_seconds', CLOCK_HELP, ['source'], (gauge) => {
      for (const source of CLOCK_SOURCES) {
        gauge.set({ source }, sources.clockOffsetSeconds?.(source) ?? UNKNOWN);
      }
    });
    this.#scraped('jwks_state', JWKS_HELP, ['token', 'state'], (gauge) => {
      for (const token of tokens) {
        const status = sources.jwksStatus?.(token);
        for (const state of JWKS_STATUSES) gauge.set({ token, state }, state === status ? 1 : 0);
      }
    });
    this.#scraped('config_file_valid', CONFIG_VALID_HELP, [], (gauge) => {
      const state = sources.configFile?.();
      gauge.set(state === undefined ? UNKNOWN : Number(state.isValid));
    });
    this.#scraped('config_file_applied_timestamp_seconds', CONFIG_APPLIED_HELP, [], (gauge) =>
      gauge.set(seconds(sources.configFile?.()?.appliedAt)),
    );
    this.#scraped('tls_certificate_expires_timestamp_seconds', CERTIFICATE_HELP, [], (gauge) =>
      gauge.set(seconds(sources.tlsCertificateEndsAt?.())),
    );
    this.#scraped('waiting_requests', WAITING_HELP, [], (gauge) =>
      gauge.set(sources.waitingRequests?.() ?? 0),
    );
    this.#total('log_lines_dropped_total', LOG_DROPPED_HELP, () => sources.droppedLogLines?.());
    this.#total('audit_dropped_total', AUDIT_DROPPED_HELP, () => sources.droppedAuditEvents?.());
  }

  /** Counts a finished request. `route` and `method` come from the request log, which bounds them. */
  recordHttpRequest(request: CountedRequest): void {
    const { route, method, status, aborted, held, durationMilliseconds } = request;
    this.#httpRequests.add({ route, method, status: statusClass(status, aborted) });
    // What it lasted says how long the peer was willing to wait, and nothing about the broker.
    if (held === true) return;
    this.#httpDuration.observe({ route, method }, durationMilliseconds / 1000);
  }

  /** Counts an answer with a service token, by the state that `X-Cache` shows. */
  recordTokenServed(cache: string, token: string = DEFAULT_TOKEN): void {
    this.#tokensServed.add({ token, cache: this.#word.of(cache) });
  }

  /** Counts an authenticated peer that could not get the token. @param code a stable error code. */
  recordTokenUnavailable(code: string, token: string = DEFAULT_TOKEN): void {
    this.#tokensUnavailable.inc({ token, code: this.#code.of(code) });
  }

  /** Counts a failed login. @param reason a stable word, such as `wrong_secret`. */
  recordPeerLoginFailure(reason: string): void {
    this.#loginFailures.inc({ reason: this.#word.of(reason) });
  }

  /** Counts a decision about a caller's token. @param outcome its kind, or a stable code. */
  recordTokenDecision(endpoint: 'authorize' | 'introspect', outcome: string): void {
    this.#tokenDecisions.add({ endpoint, outcome: this.#code.of(outcome) });
  }

  /** Counts a connection. @param change 1 when it was opened, -1 when it was closed. */
  recordConnection(change: 1 | -1): void {
    this.#connections.inc(change);
  }

  /** Counts a connection beyond the limit. */
  recordConnectionRefused(how: 'answered' | 'reset'): void {
    this.#connectionsRefused.inc({ how });
  }

  /** Records whether the process can open files and connections. */
  recordDescriptors(areExhausted: boolean): void {
    this.#descriptorsExhausted.set(areExhausted ? 1 : 0);
  }

  /** Counts a successful read. @param token the token's name, of a token secret; else empty. */
  recordStoreRead(secret: SecretRole, durationMilliseconds: number, token = ''): void {
    this.#storeReads.inc({ secret, token, code: 'OK' });
    this.#storeReadDuration.observe({ secret }, durationMilliseconds / 1000);
  }

  /** Counts a failed read. @param code a stable error code. */
  recordStoreReadFailure(secret: SecretRole, code: string, token = ''): void {
    this.#storeReads.inc({ secret, token, code: this.#code.of(code) });
  }

  /** Counts a read that another Region answered. @param region as configured. */
  recordFallbackRead(region: string): void {
    this.#fallbackReads.inc({ region: this.#word.of(region) });
  }

  /** Counts a token request to the provider. @param code `OK`, or a stable error code. */
  recordProviderMint(code: string, token: string = DEFAULT_TOKEN): void {
    this.#mints.inc({ token, code: this.#code.of(code) });
  }

  /** Counts a comparison of clocks. */
  recordClockReading(source: ClockSource, state: string): void {
    this.#clockReadings.inc({ source, state: this.#word.of(state) });
  }

  /** Counts a rotation step that ended. */
  recordRotationStep(step: string, outcome: string, token: string = DEFAULT_TOKEN): void {
    const of = (word: string): string => this.#word.of(word);
    this.#rotationSteps.inc({ token, step: of(step), outcome: of(outcome) });
  }

  /** Counts a rotation that ended, and remembers when the last one succeeded. */
  recordRotation(
    outcome: {
      readonly trigger: string;
      readonly result: string;
      /** A stable error code, when it failed. */
      readonly code?: string | undefined;
      /** When it ended, in milliseconds since the Unix epoch. */
      readonly at: number;
    },
    token: string = DEFAULT_TOKEN,
  ): void {
    const trigger = this.#word.of(outcome.trigger);
    const code = outcome.code === undefined ? 'OK' : this.#code.of(outcome.code);
    this.#rotations.inc({ token, trigger, result: this.#word.of(outcome.result), code });
    if (isSuccess(outcome.result)) this.#lastSuccess.set(token, outcome.at);
  }

  #counter<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
  ): Counter<Label> {
    return new Counter({
      name: `${METRICS_PREFIX}${name}`,
      help,
      labelNames,
      registers: [this.registry],
    });
  }

  /** A counter of what is counted elsewhere. */
  #total(name: string, help: string, read: () => number | undefined): void {
    const counter: Counter = new Counter({
      name: `${METRICS_PREFIX}${name}`,
      help,
      registers: [this.registry],
      collect: () => {
        counter.reset();
        counter.inc(read() ?? 0);
      },
    });
  }

  #scraped<Label extends string>(
    name: string,
    help: string,
    labelNames: readonly Label[],
    collect: (gauge: Gauge<Label>) => void,
  ): void {
    const gauge: Gauge<Label> = new Gauge({
      name: `${METRICS_PREFIX}${name}`,
      help,
      labelNames,
      registers: [this.registry],
      collect: () => collect(gauge),
    });
  }
}

/** The token of a broker that has only one. */
const DEFAULT_TOKEN = 'default';

const TOKEN_HELP =
  'Remaining life of each cached service token in seconds; negative when it has expired, NaN while none is cached.';
const GENERATED_HELP =
  'When the cached service token was minted, by whichever process, in seconds since the Unix epoch; NaN while none is cached.';
const ACCEPTED_HELP =
  'Whether receivers accept the cached service token: 1 if so, 0 if they refuse it, NaN while it is not known.';
const ROTATION_HELP =
  'When a rotation last ended well in this process, in seconds since the Unix epoch; NaN before.';
const WAITING_HELP = 'Requests that are held until a token changes (Prefer: wait).';
const LOG_DROPPED_HELP =
  'Lines of the log that were dropped, because standard output was not read.';
const AUDIT_DROPPED_HELP =
  'Events of the audit that were dropped, because the file or standard output was too slow.';
const CONFIG_VALID_HELP =
  'Whether the configuration file, as it was last read, has no mistakes: 1 if so, 0 if it changes nothing, NaN without a file.';
const CONFIG_APPLIED_HELP =
  'When peers and trusted issuers of the configuration file last took effect, in seconds since the Unix epoch; NaN without a file.';
const CERTIFICATE_HELP =
  "When the certificate of the broker's own TLS ends, in seconds since the Unix epoch; NaN without TLS.";
const CLOCK_HELP =
  "How many seconds this machine's clock is behind that of the provider or of the secret store; negative when it is ahead, NaN while it is not known.";
const JWKS_HELP = "State of the provider's keys: 1 for the state they are in, 0 for the others.";

/** Prometheus's value for what is unknown. Comparisons with it are false, so no alarm goes off. */
const UNKNOWN = Number.NaN;

function seconds(milliseconds: number | undefined): number {
  return milliseconds === undefined ? UNKNOWN : milliseconds / 1000;
}

function statusClass(status: number | undefined, aborted: boolean): string {
  if (aborted || status === undefined) return 'aborted';
  return `${Math.floor(status / 100)}xx`;
}
