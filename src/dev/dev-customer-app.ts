import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
import type { DevCredentials } from './dev-credentials.js';
import { readLogin, replaceLogin } from './login-file.js';

/** The client that gets customer tokens: it stands for the application that people use. */
const CUSTOMER_APP = 'dev-customer-app';
/** 32 bytes in base64url, as made here; anything else was edited. */
const SECRET = /^[\w-]{43}$/;

/** The client for customer tokens, and where its login is written down. */
export interface DevCustomerApp extends DevCredentials {
  /** Absolute path: `{"id","secret"}`, mode 0600. */
  readonly file: string;
}

/** Makes sure that the client for customer tokens has a login, and that its file says so. */
export async function ensureDevCustomerApp(dataDir: string): Promise<DevCustomerApp> {
  const file = resolve(dataDir, `${CUSTOMER_APP}.json`);
  const known = await readLogin(file);
  if (known?.id === CUSTOMER_APP && SECRET.test(known.secret)) {
    return { clientId: known.id, clientSecret: known.secret, file };
  }
  const made = { id: CUSTOMER_APP, secret: randomBytes(32).toString('base64url') };
  await replaceLogin(file, made);
  return { clientId: made.id, clientSecret: made.secret, file };
}
