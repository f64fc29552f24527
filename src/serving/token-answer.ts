import { remainingLife, type ServiceToken } from '../tokens/service-token.js';
import type { CacheAnswer } from '../tokens/refreshing-cache.js';
import { bodylessAnswer, jsonBytesAnswer, type EndpointAnswer } from './http.js';
import type { CurrentToken } from './token-cache.js';

/**
 * The members of a token answer: RFC 6749 §5.1. `expires_in` is the whole seconds of remaining life, `scope` all that the token
 * has, whatever was asked for.
 */
export function tokenMembers(token: ServiceToken, now: number): Record<string, unknown> {
  return {
    access_token: token.accessToken,
    token_type: token.tokenType,
    expires_in: expiresIn(token, now),
    ...(token.scope !== undefined && token.scope !== '' && { scope: token.scope }),
  };
}

/** The entity tag of a version: its id, quoted (RFC 9110 §8.8.3). */
export function entityTag(versionId: string): string {
  // A version id is text of anybody's choice; what an entity tag cannot hold is escaped.
  const opaque = /^[\x21\x23-\x7e]+$/.test(versionId) ? versionId : encodeURIComponent(versionId);
  return `"${opaque}"`;
}

/** Whether an `If-None-Match` header names the entity tag: weak comparison, RFC 9110 §13.1.2. */
export function matchesEntityTag(header: string, tag: string): boolean {
  if (header.trim() === '*') return true;
  return [...header.matchAll(/(?:W\/)?("[^"]*")/g)].some(([, candidate]) => candidate === tag);
}

interface Prepared {
  readonly source: CacheAnswer<CurrentToken>;
  readonly from: number;
  /** The last millisecond at which `Age` and `expires_in` are still right. */
  readonly until: number;
  readonly answer: EndpointAnswer;
}

interface Body {
  readonly token: ServiceToken;
  readonly expiresIn: number;
  readonly bytes: Buffer;
}

/** Answers with the token, made anew only when a second has passed or another token came. */
export class TokenAnswers {
  #prepared: Prepared | undefined;
  #body: Body | undefined;

  /** 200 with the token. @param now milliseconds since the Unix epoch. */
  ok(source: CacheAnswer<CurrentToken>, now: number): EndpointAnswer {
    const last = this.#prepared;
    if (last?.source === source && now >= last.from && now <= last.until) return last.answer;
    const { token } = source.value;
    const answer = jsonBytesAnswer(200, this.#bytes(token, now), validators(source, now));
    const until = Math.min(
      token.expiresAt - expiresIn(token, now) * 1_000,
      source.readAt + (ageSeconds(source, now) + 1) * 1_000 - 1,
    );
    this.#prepared = { source, from: now, until, answer };
    return answer;
  }

  /** 304 for a peer that has this version already. */
  notModified(source: CacheAnswer<CurrentToken>, now: number): EndpointAnswer {
    return bodylessAnswer(304, validators(source, now));
  }

  #bytes(token: ServiceToken, now: number): Buffer {
    const seconds = expiresIn(token, now);
    if (this.#body?.token !== token || this.#body.expiresIn !== seconds) {
      const bytes = Buffer.from(JSON.stringify(tokenMembers(token, now)));
      this.#body = { token, expiresIn: seconds, bytes };
    }
    return this.#body.bytes;
  }
}

function validators(source: CacheAnswer<CurrentToken>, now: number): readonly string[] {
  return [
    'ETag',
    entityTag(source.value.versionId),
    'Age',
    String(ageSeconds(source, now)),
    'X-Cache',
    source.state,
  ];
}

function ageSeconds(source: CacheAnswer<CurrentToken>, now: number): number {
  return Math.max(0, Math.floor((now - source.readAt) / 1_000));
}

function expiresIn(token: ServiceToken, now: number): number {
  return Math.max(0, Math.floor(remainingLife(token, now) / 1_000));
}
