import { afterEach, describe, expect, test } from '@jest/globals';
import {
  BoundedLabel,
  BrokerMetrics,
  METRICS_PREFIX,
  type MetricsSources,
} from '../../src/operations/metrics.js';
import { assertNoCanary, CANARIES } from '../support/canaries.js';

const made: BrokerMetrics[] = [];
afterEach(() => made.splice(0).forEach(({ registry }) => registry.clear()));

function create(sources: MetricsSources = {}): BrokerMetrics {
  const metrics = new BrokerMetrics(sources);
  made.push(metrics);
  return metrics;
}

/** The lines of our own metric, without its prefix. */
async function samples(metrics: BrokerMetrics, name: string): Promise<string[]> {
  const text = await metrics.registry.metrics();
  const start = METRICS_PREFIX + name;
  return text
    .split('\n')
    .filter((line) => line.startsWith(`${start}{`) || line.startsWith(`${start} `))
    .map((line) => line.slice(start.length));
}

test('what is recorded is shown', async () => {
  const metrics = create();
  const request = { route: '/v1/token', method: 'GET', aborted: false, durationMilliseconds: 2 };
  metrics.recordHttpRequest({ ...request, status: 200 });
  metrics.recordHttpRequest({ ...request, status: 204 });
  metrics.recordHttpRequest({ ...request, status: 503 });
  metrics.recordHttpRequest({ ...request, status: undefined, aborted: true });
  metrics.recordHttpRequest({ ...request, status: 200, aborted: true });
  metrics.recordTokenServed('HIT');
  metrics.recordTokenServed('HIT');
  metrics.recordTokenUnavailable('STORE_TIMEOUT');
  metrics.recordPeerLoginFailure('wrong_secret');
  metrics.recordStoreRead('token', 12);
  metrics.recordStoreReadFailure('peers', 'STORE_THROTTLED');
  metrics.recordFallbackRead('eu-west-1');
  metrics.recordProviderMint('OK');
  metrics.recordProviderMint('PROVIDER_DOWN');
  metrics.recordRotationStep('createSecret', 'done');
  metrics.recordRotation({ trigger: 'schedule', result: 'rotated', at: 1_700_000_000_000 });
  metrics.recordRotation({
    trigger: 'http',
    result: 'failed',
    code: 'STORE_BUSY',
    at: 1_800_000_000_000,
  });
  metrics.recordRotation({ trigger: 'watchdog', result: 'requested', at: 1_900_000_000_000 });

  expect(await samples(metrics, 'http_requests_total')).toEqual([
    '{route="/v1/token",method="GET",status="2xx"} 2',
    '{route="/v1/token",method="GET",status="5xx"} 1',
    '{route="/v1/token",method="GET",status="aborted"} 2',
  ]);
  expect(await samples(metrics, 'http_request_duration_seconds_count')).toEqual([
    '{route="/v1/token",method="GET"} 5',
  ]);
  expect(await samples(metrics, 'http_request_duration_seconds_sum')).toEqual([
    '{route="/v1/token",method="GET"} 0.01',
  ]);
  expect(await samples(metrics, 'tokens_served_total')).toEqual([
    '{token="default",cache="HIT"} 2',
  ]);
  expect(await samples(metrics, 'tokens_unavailable_total')).toEqual([
    '{token="default",code="STORE_TIMEOUT"} 1',
  ]);
  expect(await samples(metrics, 'peer_login_failures_total')).toEqual([
    '{reason="wrong_secret"} 1',
  ]);
  expect(await samples(metrics, 'store_reads_total')).toEqual([
    '{secret="token",token="",code="OK"} 1',
    '{secret="peers",token="",code="STORE_THROTTLED"} 1',
  ]);
  expect(await samples(metrics, 'store_fallback_reads_total')).toEqual(['{region="eu-west-1"} 1']);
  expect(await samples(metrics, 'store_read_duration_seconds_sum')).toEqual([
    '{secret="token"} 0.012',
  ]);
  expect(await samples(metrics, 'provider_mints_total')).toEqual([
    '{token="default",code="OK"} 1',
    '{token="default",code="PROVIDER_DOWN"} 1',
  ]);
  expect(await samples(metrics, 'rotation_steps_total')).toEqual([
    '{token="default",step="createSecret",outcome="done"} 1',
  ]);
  expect(await samples(metrics, 'rotations_total')).toEqual([
    '{token="default",trigger="schedule",result="rotated",code="OK"} 1',
    '{token="default",trigger="http",result="failed",code="STORE_BUSY"} 1',
    '{token="default",trigger="watchdog",result="requested",code="OK"} 1',
  ]);
  // A failure is no success, however late it is; neither is a request.
  expect(await samples(metrics, 'last_rotation_success_timestamp_seconds')).toEqual([
    '{token="default"} 1700000000',
  ]);
});

test('what is not known yet is NaN, so that no alarm goes off', async () => {
  const metrics = create();
  for (const name of [
    'token_remaining_seconds',
    'token_generated_timestamp_seconds',
    'last_rotation_success_timestamp_seconds',
  ]) {
    expect(await samples(metrics, name)).toEqual(['{token="default"} Nan']);
  }
});

test('the token and the keys are looked at when they are scraped', async () => {
  let remaining: number | undefined = 3600;
  let status: 'fresh' | 'stale' | undefined = 'fresh';
  const metrics = create({
    tokenRemainingSeconds: () => remaining,
    tokenGeneratedAt: () => 1_700_000_000_500,
    jwksStatus: () => status,
  });
  expect(await samples(metrics, 'token_remaining_seconds')).toEqual(['{token="default"} 3600']);
  expect(await samples(metrics, 'token_generated_timestamp_seconds')).toEqual([
    '{token="default"} 1700000000.5',
  ]);
  expect(await samples(metrics, 'jwks_state')).toEqual([
    '{token="default",state="empty"} 0',
    '{token="default",state="fresh"} 1',
    '{token="default",state="stale"} 0',
    '{token="default",state="expired"} 0',
  ]);
  remaining = -5;
  status = 'stale';
  expect(await samples(metrics, 'token_remaining_seconds')).toEqual(['{token="default"} -5']);
  expect(await samples(metrics, 'jwks_state')).toContain('{token="default",state="stale"} 1');
  status = undefined;
  expect(await samples(metrics, 'jwks_state')).not.toContainEqual(expect.stringMatching(/ 1$/));
});

test('every name has the prefix, a help text, and stays', async () => {
  const all = create().registry.getMetricsAsArray();
  for (const { name, help } of all) {
    expect(name.startsWith(METRICS_PREFIX)).toBe(true);
    expect(help).toMatch(/\S/);
  }
  const ours = all
    .map(({ name }) => name.slice(METRICS_PREFIX.length))
    .filter((name) => !/^(?:process|nodejs)_/.test(name));
  expect(ours.sort()).toEqual([
    'audit_dropped_total',
    'clock_offset_seconds',
    'clock_readings_total',
    'config_file_applied_timestamp_seconds',
    'config_file_valid',
    'connections',
    'connections_refused_total',
    'descriptors_exhausted',
    'http_request_duration_seconds',
    'http_requests_total',
    'jwks_state',
    'last_rotation_success_timestamp_seconds',
    'log_lines_dropped_total',
    'peer_login_failures_total',
    'provider_mints_total',
    'rotation_steps_total',
    'rotations_total',
    'store_fallback_reads_total',
    'store_read_duration_seconds',
    'store_reads_total',
    'tls_certificate_expires_timestamp_seconds',
    'token_accepted',
    'token_decisions_total',
    'token_generated_timestamp_seconds',
    'token_remaining_seconds',
    'tokens_served_total',
    'tokens_unavailable_total',
    'waiting_requests',
  ]);
  expect(all.map(({ name }) => name)).toContain(`${METRICS_PREFIX}nodejs_eventloop_lag_seconds`);
});

test('two of them do not disturb each other', async () => {
  const [one, other] = [create(), create()];
  one.recordTokenServed('HIT');
  expect(await samples(other, 'tokens_served_total')).toEqual([]);
});

test('no secret gets into a label, and no text from outside', async () => {
  const metrics = create();
  const { jwt, clientSecret, peerSecret } = CANARIES;
  for (const secret of [jwt, clientSecret, peerSecret, 'with "quotes"\n', '']) {
    metrics.recordTokenServed(secret);
    metrics.recordTokenUnavailable(secret);
    metrics.recordPeerLoginFailure(secret);
    metrics.recordStoreReadFailure('token', secret);
    metrics.recordProviderMint(secret);
    metrics.recordRotationStep(secret, secret);
    metrics.recordRotation({ trigger: secret, result: secret, code: secret, at: 0 });
  }
  assertNoCanary(await metrics.registry.metrics());
  expect(await samples(metrics, 'provider_mints_total')).toEqual([
    '{token="default",code="other"} 5',
  ]);
});

describe('a bounded label', () => {
  test('lets known words through, and so many of them', () => {
    const label = new BoundedLabel(2);
    expect(['A_B', 'c-d', 'e', 'A_B'].map((word) => label.of(word))).toEqual([
      'A_B',
      'c-d',
      'other',
      'A_B',
    ]);
  });
});

test('log lines that were dropped are counted as the log counts them', async () => {
  let dropped = 0;
  const metrics = new BrokerMetrics({ droppedLogLines: () => dropped });
  const line = async (): Promise<string> => {
    const text = await metrics.registry.metrics();
    return /^service_token_broker_log_lines_dropped_total .*$/m.exec(text)?.[0] ?? '';
  };
  expect(await line()).toMatch(/ 0$/);
  dropped = 7;
  expect(await line()).toMatch(/ 7$/);
  expect(await line()).toMatch(/ 7$/);
});
