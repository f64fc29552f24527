/** What a running broker says of itself. */
export interface BrokerHealth {
  readonly url: string;
  readonly state: 'ready' | 'not ready' | 'no answer';
  /** One sentence for people. */
  readonly words: string;
  /** The body of `/health/ready`, when there was one. */
  readonly details?: unknown;
}

const TIMEOUT = 2_000;

/** Asks a broker's `/health/ready`. A broker that does not answer is a finding, not an error. */
export async function askBroker(url: string): Promise<BrokerHealth> {
  try {
    const response = await fetch(new URL('/health/ready', url), {
      signal: AbortSignal.timeout(TIMEOUT),
      redirect: 'manual',
    });
    const details: unknown = await response.json();
    const state = response.ok ? 'ready' : 'not ready';
    return { url, state, words: `${state} at ${url}`, details };
  } catch (error) {
    const reason = error instanceof Error ? reasonOf(error) : 'unknown reason';
    return { url, state: 'no answer', words: `no answer at ${url} (${reason})` };
  }
}

function reasonOf(error: Error): string {
  const { cause } = error;
  if (cause instanceof Error && 'code' in cause && typeof cause.code === 'string') {
    return cause.code;
  }
  return error.name === 'SyntaxError' ? 'what answers there is no broker' : error.name;
}
