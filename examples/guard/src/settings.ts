/** What the application has to be told. */
export interface Settings {
  /** The exact `iss` of the tokens. */
  readonly issuer: string;
  /** Where the issuer publishes its keys. */
  readonly jwksUri: string;
  /** Who we are: the `aud` that a token must name. */
  readonly audience: string;
  readonly port: number;
}

/** Reads the settings; the defaults are those of the broker in development mode. */
export function readSettings(env: NodeJS.ProcessEnv): Settings {
  const issuer = env['ISSUER'] ?? 'http://127.0.0.1:3001';
  return {
    issuer,
    jwksUri: env['JWKS_URI'] ?? `${issuer}/jwks`,
    audience: env['AUDIENCE'] ?? 'https://services.example.test',
    port: Number(env['PORT'] ?? 3100),
  };
}
