import { BrokerError } from '../tokens/errors.js';
import type { ServiceToken } from '../tokens/service-token.js';
import { peekToken, type TokenSight } from '../verification/explain.js';
import type { IssuerOptions } from '../verification/index.js';

/** The part of an issuer's options that receivers copy. */
export type ReceiverOptions = Omit<
  IssuerOptions,
  'keys' | 'algorithms' | 'maxTokenLifetimeSeconds'
>;

/**
 * Runs a check of a token that the broker has minted, and adds to a refusal the token's `iss`, `aud` and `typ`, and what
 * to set when only its further audiences are refused.
 *
 * The verifier never quotes what it refuses, because it verifies strangers' tokens. The claims of the broker's own token
 * are no secret, and whoever has to fix the provider's settings needs them.
 *
 * @param options the rules that the check applies; called when the check has failed.
 * @throws {BrokerError} with the code of the check's error, which is the cause; never a `TokenRejectedError`, which
 *   promises to quote no token.
 */
export async function withOwnClaims<R>(
  token: ServiceToken,
  check: () => Promise<R>,
  options: () => ReceiverOptions | undefined = () => undefined,
): Promise<R> {
  try {
    return await check();
  } catch (error) {
    if (!(error instanceof BrokerError) || error.kind !== 'rejected') throw error;
    const sight = peekToken(token.accessToken, 0);
    const rules = options();
    const advice = rules === undefined ? undefined : audienceAdvice(sight.aud ?? [], rules);
    const message = [
      error.message,
      ownClaims(sight),
      ...(advice === undefined ? [] : [advice]),
      'Which rules it is held to: service-token-broker doctor --mint',
    ].join(' ');
    throw new BrokerError(error.code, error.kind, message, { cause: error });
  }
}

/**
 * What to do about a token with audiences beside ours that nobody has listed: the broker's setting and the receivers'
 * option. `undefined` when the audiences are not the problem.
 */
export function audienceAdvice(
  aud: readonly string[],
  options: Pick<ReceiverOptions, 'audiences' | 'otherAudiences'>,
): string | undefined {
  const ours = listOf(options.audiences);
  const { otherAudiences = [] } = options;
  if (otherAudiences === null || !aud.some((name) => ours.includes(name))) return undefined;
  const others = aud.filter((name) => !ours.includes(name));
  const unlisted = others.filter((name) => !otherAudiences.includes(name));
  if (unlisted.length === 0) return undefined;
  const all = [...new Set([...otherAudiences, ...unlisted])];
  return (
    `The token is also for ${unlisted.map(quote).join(', ')}. Best take that out of the token at the provider. ` +
    `If it has to stay: set BROKER_OTHER_AUDIENCES=${all.join(',')} here, and otherAudiences: ${listText(all)} in every receiver's guard.`
  );
}

/**
 * The options with which a receiver's guard accepts a token, as text to paste into an entry of `issuers`.
 *
 * @param aud the token's audiences.
 */
export function receiversNeed(options: ReceiverOptions, aud: readonly string[]): string {
  const { issuer, audiences, profile, typ, serviceClientIds, customerClientIds, scopeClaims } =
    options;
  const ours = audiences === null ? aud.slice(0, 1) : listOf(audiences);
  const others = aud.filter((name) => !ours.includes(name));
  const members = [
    `issuer: ${quote(issuer)}`,
    `audiences: ${ours.length === 0 ? 'null' : ours.length === 1 ? ours.map(quote).join() : listText(ours)}`,
    ...(others.length === 0 ? [] : [`otherAudiences: ${listText(others)}`]),
    `profile: ${quote(typeof profile === 'string' ? profile : profile.name)}`,
    ...(typ === undefined ? [] : [`typ: ${quote(typ)}`]),
    ...(serviceClientIds ? [`serviceClientIds: ${listText(serviceClientIds)}`] : []),
    ...(customerClientIds ? [`customerClientIds: ${listText(customerClientIds)}`] : []),
    ...(scopeClaims ? [`scopeClaims: ${listText(scopeClaims)}`] : []),
  ];
  return `Receivers need: { ${members.join(', ')}, keys }${
    audiences === null && aud.length > 1
      ? ' (or another of its audiences as their own; BROKER_AUDIENCE is not set, so that none was checked)'
      : ''
  }`;
}

function ownClaims({ iss, aud, typ }: TokenSight): string {
  const said = [
    iss === undefined ? 'no "iss"' : `"iss" ${JSON.stringify(iss)}`,
    aud === undefined || aud.length === 0
      ? 'no "aud"'
      : `"aud" ${aud.map((name) => JSON.stringify(name)).join(', ')}`,
    typ === undefined ? 'no "typ"' : `"typ" ${JSON.stringify(typ)}`,
  ];
  return `The token has ${said.join(', ')}.`;
}

function listOf(audiences: IssuerOptions['audiences']): readonly string[] {
  return typeof audiences === 'string' ? [audiences] : (audiences ?? []);
}

function listText(names: readonly string[]): string {
  return `[${names.map(quote).join(', ')}]`;
}

/** A text in single quotes, as in the documentation's code. */
function quote(text: string): string {
  return `'${text.replaceAll(/[\\']/g, String.raw`\$&`)}'`;
}
