import { currentCallContext, currentCorrelation } from 'service-token-kit/guard';

/** Writes who is calling, on whose behalf all that follows will run. */
export function sayWhoCalls(service: string, route: string): void {
  const principal = currentCallContext()?.principal;
  const caller =
    principal === undefined
      ? 'nobody'
      : `${principal.kind} ${principal.kind === 'customer' ? principal.subject : principal.clientId}`;
  const request = currentCorrelation()?.requestId ?? 'without an id';
  say(service, `${route.padEnd(26)} called by ${caller} (request ${request})`);
}

export function say(who: string, what: string): void {
  process.stdout.write(`${who.padEnd(9)} ${what}\n`);
}
