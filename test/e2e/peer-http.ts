import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** A token as peers get it. */
export interface TokenBody {
  readonly access_token: string;
  readonly token_type: string;
  readonly expires_in: number;
}

/** The value of an Authorization header for a peer. */
export function basic(id: string, secret: string): string {
  return `Basic ${Buffer.from(`${id}:${secret}`).toString('base64')}`;
}

/** The demo peer of a data folder. */
export async function demoPeer(dataDir: string): Promise<{ id: string; secret: string }> {
  return JSON.parse(await readFile(join(dataDir, 'demo-peer.json'), 'utf8')) as {
    id: string;
    secret: string;
  };
}

/** Asks for the token with HTTP Basic. */
export async function getToken(
  url: string,
  authorization: string,
): Promise<{ status: number; etag: string | null; body: TokenBody }> {
  const response = await fetch(`${url}/v1/token`, { headers: { authorization } });
  return {
    status: response.status,
    etag: response.headers.get('etag'),
    body: (await response.json()) as TokenBody,
  };
}
