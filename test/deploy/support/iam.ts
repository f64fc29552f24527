/** A statement of an IAM policy. */
export interface Statement {
  readonly Sid?: string;
  readonly Effect: 'Allow' | 'Deny';
  readonly Principal?: '*' | Readonly<Record<string, OneOrMore>>;
  readonly Action: OneOrMore;
  /** Missing in a role's trust policy, which is about the role. */
  readonly Resource?: OneOrMore;
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, OneOrMore>>>>;
}

/** A policy document. */
export interface PolicyDocument {
  readonly Version: string;
  readonly Statement: readonly Statement[];
}

type OneOrMore = string | readonly string[];

/** Who asks for what. */
export interface AccessRequest {
  readonly action: string;
  readonly resource: string;
  /** The condition keys of the request; a key that is missing here is missing in the request. */
  readonly context?: Readonly<Record<string, OneOrMore>>;
}

/** What IAM decides: an explicit denial wins, then any allowance. */
export type Access = 'allowed' | 'denied' | 'not allowed';

/**
 * Decides as IAM does within one account, by what the identity's policies and the resource's policy say (IAM user guide,
 * "Policy evaluation logic"). A condition operator that it does not know is an error.
 */
export function decideAccess(policies: readonly PolicyDocument[], request: AccessRequest): Access {
  const statements = policies
    .flatMap(({ Statement }) => Statement)
    .filter((statement) => applies(statement, request));
  if (statements.some(({ Effect }) => Effect === 'Deny')) return 'denied';
  return statements.length > 0 ? 'allowed' : 'not allowed';
}

/** A list, of one where there is one. */
export function listOf(value: OneOrMore): readonly string[] {
  return typeof value === 'string' ? [value] : value;
}

function applies(statement: Statement, { action, resource, context = {} }: AccessRequest): boolean {
  return (
    listOf(statement.Action).some((pattern) => like(pattern.toLowerCase(), action.toLowerCase())) &&
    listOf(statement.Resource ?? []).some((pattern) => like(pattern, resource)) &&
    Object.entries(statement.Condition ?? {}).every(([operator, keys]) =>
      Object.entries(keys).every(([key, wanted]) => holds(operator, context[key], listOf(wanted))),
    )
  );
}

type Test = (value: string, wanted: string) => boolean;

const OPERATORS: Readonly<Record<string, Test>> = {
  StringEquals: (value, wanted) => value === wanted,
  ArnEquals: (value, wanted) => like(wanted, value),
  ArnLike: (value, wanted) => like(wanted, value),
  Bool: (value, wanted) => value.toLowerCase() === wanted.toLowerCase(),
};

/** An operator that begins so is the other one, negated: it is true when none of its values fits. */
const NEGATIONS: Readonly<Record<string, string>> = {
  StringNotEquals: 'StringEquals',
  ArnNotLike: 'ArnLike',
};

function holds(
  operator: string,
  actual: OneOrMore | undefined,
  wanted: readonly string[],
): boolean {
  if (operator === 'Null') return wanted.includes(String(actual === undefined));
  if (operator.endsWith('IfExists')) {
    return actual === undefined || holds(operator.slice(0, -'IfExists'.length), actual, wanted);
  }
  const forAll = operator.startsWith('ForAllValues:');
  const name = forAll ? operator.slice('ForAllValues:'.length) : operator;
  const negated = NEGATIONS[name];
  const fits = OPERATORS[negated ?? name];
  if (fits === undefined)
    throw new Error(`The tests do not know the condition operator ${operator}.`);
  // Without the key, a negation holds, and so does everything that is asked of all of no values.
  if (actual === undefined) return negated !== undefined || forAll;
  const one = (value: string): boolean =>
    wanted.some((text) => fits(value, text)) === (negated === undefined);
  return forAll ? listOf(actual).every(one) : listOf(actual).some(one);
}

/** `*` is any text, `?` any character. */
function like(pattern: string, text: string): boolean {
  const expression = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${expression}$`, 's').test(text);
}
