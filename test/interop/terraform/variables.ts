/** Parameters of serverless.yml, by their names there. */
export type Parameters = Readonly<Record<string, string>>;

/** Those that the Terraform module takes as lists, numbers and booleans. */
const LISTS: ReadonlySet<string> = new Set([
  'resource',
  'serviceClientIds',
  'otherAudiences',
  'customerClientIds',
  'peers',
  'brokerRoles',
  'administrators',
  'alertEmails',
  'replicaRegions',
  'subnetIds',
]);

/** The name of a parameter in the Terraform module. */
export function variableName(parameter: string): string {
  return parameter.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Parameters of serverless.yml as variables of the Terraform module. */
export function variablesOf(parameters: Parameters): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(parameters).flatMap(([parameter, text]): [string, unknown][] => {
      if (parameter === 'tokenLifetime') return lifetimes(text);
      return [[variableName(parameter), valueOf(parameter, text)]];
    }),
  );
}

function valueOf(parameter: string, text: string): unknown {
  if (LISTS.has(parameter)) return text === '' ? [] : text.split(',').map((item) => item.trim());
  if (['logRetentionDays', 'peersSecrets'].includes(parameter) && /^\d+$/.test(text)) {
    return Number(text);
  }
  return ['true', 'false'].includes(text) ? text === 'true' : text;
}

/** `24h,mail=12h` is one variable for all tokens, and one for those that differ. */
function lifetimes(text: string): [string, unknown][] {
  const items = text.split(',');
  const own = items.filter((item) => item.includes('=')).map((item) => item.split('=', 2));
  return [
    ['token_lifetime', items.find((item) => !item.includes('=')) ?? ''],
    ...(own.length > 0 ? [['token_lifetimes', Object.fromEntries(own)] as [string, unknown]] : []),
  ];
}
