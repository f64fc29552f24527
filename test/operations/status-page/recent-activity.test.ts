import { describe, expect, test } from '@jest/globals';
import { placeOf } from '../../../src/operations/request-log.js';
import {
  RecentActivity,
  RecentCount,
  withActivity,
} from '../../../src/operations/status-page/recent-activity.js';
import type { ServingObserver } from '../../../src/serving/endpoint.js';
import { fc } from '../../support/properties.js';
import { VirtualClock } from '../../support/virtual-clock.js';

const START = Date.parse('2026-11-22T12:00:00.000Z');
const FROM = { remoteAddress: '10.0.0.7' };

function scene(): {
  readonly clock: VirtualClock;
  readonly activity: RecentActivity;
  readonly observer: ServingObserver;
} {
  const clock = new VirtualClock(START);
  const activity = new RecentActivity(clock);
  return { clock, activity, observer: withActivity({}, activity, placeOf) };
}

describe('a recent count', () => {
  test('is what a list of all instants says, whatever the clock does', () => {
    const steps = fc.array(fc.integer({ min: -90, max: 900 }), { maxLength: 60 });
    fc.assert(
      fc.property(steps, (moves) => {
        const count = new RecentCount(60_000, 10);
        let now = START;
        let latest = START;
        const seen: number[] = [];
        for (const seconds of moves) {
          now += seconds * 1_000;
          // A clock that was set back counts as standing still.
          latest = Math.max(latest, now);
          count.add(now);
          seen.push(Math.floor(latest / 60_000));
        }
        const newest = Math.floor(latest / 60_000);
        const expected = seen.filter((step) => step > newest - 10).length;
        expect(count.total(latest)).toBe(expected);
        expect(count.total(latest + 600_000)).toBe(0);
      }),
    );
  });

  test('does not overflow', () => {
    const count = new RecentCount(60_000, 2);
    for (let times = 0; times < 1_000; times += 1) count.add(START);
    expect(count.total(START)).toBe(255);
  });
});

describe('recent activity', () => {
  test('has when a peer asked, how, how often, and why it was refused', () => {
    const { clock, activity, observer } = scene();
    const served = { outcome: 'served', peer: 'orders', token: 'default' } as const;
    for (let times = 0; times < 3; times += 1) {
      observer.decided?.({ ...served, method: 'client_secret_basic' }, FROM);
      clock.advance(1_000);
    }
    observer.decided?.(
      { outcome: 'denied', peer: 'orders', token: 'ledger', reason: 'TOKEN_NOT_GRANTED' },
      FROM,
    );
    expect(activity.peers().get('orders')).toEqual({
      asked: 4,
      lastAt: START + 3_000,
      lastMethod: 'client_secret_basic',
      lastToken: 'ledger',
      refused: 1,
      refusedAt: START + 3_000,
      refusedReason: 'TOKEN_NOT_GRANTED',
    });
    clock.advance(1_000);
    observer.loginRefused?.('wrong_secret', 'orders', { ...FROM, loginMethod: 'bearer' });
    expect(activity.peers().get('orders')).toMatchObject({
      asked: 4,
      refused: 2,
      refusedReason: 'wrong_secret',
    });
    observer.introspected?.('gateway', { outcome: 'customer' }, { ...FROM, loginMethod: 'bearer' });
    expect(activity.peers().get('gateway')).toMatchObject({ asked: 1, lastMethod: 'bearer' });
  });

  test('has the events but those of tokens that were served, and equal ones in a row once', () => {
    const { clock, activity, observer } = scene();
    observer.decided?.({ outcome: 'served', peer: 'orders', token: 'default' }, FROM);
    observer.decided?.({ outcome: 'not_modified', peer: 'orders', token: 'default' }, FROM);
    expect(activity.events()).toEqual([]);
    observer.loginRefused?.('unknown_peer', undefined, FROM);
    clock.advance(5);
    observer.loginRefused?.('unknown_peer', undefined, FROM);
    observer.loginRefused?.('throttled', undefined, FROM);
    expect(activity.events()).toMatchObject([
      { outcome: 'throttled', times: 1 },
      { outcome: 'login_failed', reason: 'unknown_peer', times: 2, at: START + 5 },
    ]);
  });

  test('has the rotations that no peer asked for', () => {
    const { activity } = scene();
    const ended = { at: START, durationMilliseconds: 5, key: 'slot', versionId: 'v1' };
    activity.rotationEnded('default', { ...ended, trigger: 'schedule', result: 'rotated' });
    activity.rotationEnded('default', { ...ended, trigger: 'http', result: 'rotated' });
    activity.rotationEnded('ledger', {
      ...ended,
      trigger: 'early',
      result: 'failed',
      code: 'PROVIDER_UNREACHABLE',
    });
    expect(activity.events()).toMatchObject([
      { outcome: 'rotation_failed', reason: 'PROVIDER_UNREACHABLE', token: 'ledger' },
      { outcome: 'rotated', reason: 'rotated', method: 'schedule', versionId: 'v1' },
    ]);
  });

  test('stays bounded, whatever comes', () => {
    const { clock, activity, observer } = scene();
    for (let index = 0; index < 25_000; index += 1) {
      clock.advance(1);
      observer.decided?.({ outcome: 'denied', peer: `peer-${index}`, reason: 'X' }, FROM);
    }
    for (let index = 0; index < 100; index += 1) {
      activity.versionRead('default', { versionId: `v${index}`, mintedAt: index });
      activity.versionRead('default', { versionId: `v${index}`, mintedAt: index });
    }
    expect(activity.peers().size).toBe(20_000);
    expect(activity.peers().has('peer-24999')).toBe(true);
    expect(activity.events()).toHaveLength(50);
    expect(activity.events()[0]?.peer).toBe('peer-24999');
    expect(activity.versions('default')).toHaveLength(12);
  });

  test('counts reads within an hour and mints within a day', () => {
    const { clock, activity } = scene();
    for (let hour = 0; hour < 30; hour += 1) {
      activity.minted('default', hour === 29 ? 'PROVIDER_UNREACHABLE' : 'OK');
      activity.storeRead('default');
      clock.advance(3_600_000);
    }
    expect([activity.mints('default'), activity.reads('default')]).toEqual([23, 0]);
    activity.storeRead('default');
    expect(activity.reads('default')).toBe(1);
    expect(activity.lastMint('default')).toEqual({
      at: START + 29 * 3_600_000,
      code: 'PROVIDER_UNREACHABLE',
    });
    expect([activity.mints('other'), activity.reads('other')]).toEqual([0, 0]);
  });

  test('passes everything on to the observer that was there before', () => {
    const seen: string[] = [];
    const activity = new RecentActivity(new VirtualClock(START));
    const observer = withActivity(
      {
        decided: ({ peer }) => seen.push(`decided ${peer}`),
        loginRefused: (reason) => seen.push(`refused ${reason}`),
        introspected: (peer) => seen.push(`introspected ${peer}`),
        loggedIn: (peer) => seen.push(`in ${peer}`),
      },
      activity,
      placeOf,
    );
    observer.decided?.({ outcome: 'served', peer: 'a' }, FROM);
    observer.loginRefused?.('missing', undefined, FROM);
    observer.introspected?.('b', { outcome: 'refused' }, FROM);
    observer.loggedIn?.('c', undefined);
    expect(seen).toEqual(['decided a', 'refused missing', 'introspected b', 'in c']);
  });
});
