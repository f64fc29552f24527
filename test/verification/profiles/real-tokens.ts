import { readFileSync } from 'node:fs';
import type { ProfileName } from '../../../src/verification/profiles/providers.js';

/** One line of `real-tokens.jsonl`: a token as a real provider sends it. What it is, it is whatever profile it meets. */
export interface RealToken {
  readonly name: string;
  /** `refused`: no access token, or one that is bound to a key. */
  readonly kind: 'service' | 'customer' | 'refused';
  /** The client it was issued to. */
  readonly client: string;
  /** The header's `typ`. */
  readonly typ?: 'at+jwt' | 'jwt';
  /** Profiles that know what it is. */
  readonly knownBy: readonly ProfileName[];
  /**
   * What it takes lists of client ids to tell: `kind` where nothing in it tells its kind, `name` where its subject is
   * called like a client.
   */
  readonly listsTell?: 'kind' | 'name';
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Those of Keycloak, Hydra and Spring were captured; the others follow what the providers document. */
export const REAL_TOKENS: readonly RealToken[] = readFileSync(
  new URL('./real-tokens.jsonl', import.meta.url),
  'utf8',
)
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line) as RealToken);
