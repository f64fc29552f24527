/** A statement of an IAM policy. */
export interface Statement {
  readonly Sid?: string;
  readonly Effect: 'Allow' | 'Deny';
  readonly Principal?: '*' | Readonly<Record<string, OneOrMore>>;
  readonly NotPrincipal?: '*' | Readonly<Record<string, OneOrMore>>;
  readonly Action?: OneOrMore;
  readonly NotAction?: OneOrMore;
  /** Missing in a role's trust policy, which is about the role. */
  readonly Resource?: OneOrMore;
  readonly NotResource?: OneOrMore;
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, Value>>>>;
}

/** A policy document. */
export interface PolicyDocument {
  readonly Version?: string;
  readonly Statement: readonly Statement[];
}

type OneOrMore = string | readonly string[];
/** YAML and JSON may also have booleans and numbers where IAM reads text. */
type Value = string | boolean | number | readonly (string | boolean | number)[];

/** Who asks for what. */
export interface AccessRequest {
  readonly action: string;
  readonly resource: string;
  /** The condition keys of the request; a key that is missing here is missing in the request. */
  readonly context?: Readonly<Record<string, OneOrMore>>;
}

/** A request with the principal that makes it: the ARN of a role, a user or a root user, or the name of a service. */
export interface PrincipalRequest extends AccessRequest {
  readonly principal: string;
}

/** What IAM decides: an explicit denial wins, then any allowance. */
export type Access = 'allowed' | 'denied' | 'not allowed';

/**
 * Decides as IAM does within one account, by what the identity's policies and the resource's policy say (IAM user guide,
 * "Policy evaluation logic"). Principals are not looked at. A condition operator that it does not know is an error.
 */
export function decideAccess(policies: readonly PolicyDocument[], request: AccessRequest): Access {
  const statements = policies
    .flatMap(({ Statement }) => Statement)
    .filter((statement) => applies(statement, request));
  if (statements.some(({ Effect }) => Effect === 'Deny')) return 'denied';
  return statements.length > 0 ? 'allowed' : 'not allowed';
}

/** What a resource lies in, and what its policy says. */
export interface PolicedResource {
  /** The account that owns the resource. */
  readonly account: string;
  /** The resource's own policy; `undefined` where it has none. */
  readonly policy: PolicyDocument | undefined;
  /** True for KMS keys, where IAM policies count only as far as the key policy lets them. Default: false. */
  readonly isKey?: boolean;
}

/**
 * Decides as IAM does for a principal and a resource with a policy of its own (IAM user guide, "Policy evaluation logic";
 * KMS developer guide, "Key policies"). Within an account either policy allows, across accounts both have to. A statement
 * for an account, by its id or its root user's ARN, leaves the decision to the policies of the account's principals.
 */
export function decideOnResource(
  identity: readonly PolicyDocument[],
  { account, policy, isKey = false }: PolicedResource,
  request: PrincipalRequest,
): Access {
  const { principal } = request;
  const own = decideAccess(identity, request);
  const statements = (policy?.Statement ?? [])
    .map((statement) => ({
      Effect: statement.Effect,
      named: naming(statement, principal),
      statement,
    }))
    .filter(({ named, statement }) => named !== undefined && applies(statement, request));
  if (own === 'denied' || statements.some(({ Effect }) => Effect === 'Deny')) return 'denied';
  const mayByIdentity = own === 'allowed' || isRoot(principal);
  const direct = statements.some(({ named }) => named === 'itself');
  const delegated = statements.some(({ named }) => named === 'its account');
  // A service has no account, and no policies of its own.
  if (accountOf(principal) === undefined) return direct ? 'allowed' : 'not allowed';
  const allowed =
    accountOf(principal) === account
      ? direct || (mayByIdentity && (delegated || !isKey))
      : mayByIdentity && (direct || delegated);
  return allowed ? 'allowed' : 'not allowed';
}

/** A list, of one where there is one. */
export function listOf(value: OneOrMore | undefined): readonly string[] {
  return value === undefined ? [] : typeof value === 'string' ? [value] : value;
}

/** The account of an ARN; `undefined` for a service. */
function accountOf(principal: string): string | undefined {
  return /^arn:[^:]+:(?:iam|sts)::(\d{12}):/.exec(principal)?.[1];
}

function isRoot(principal: string): boolean {
  return /^arn:[^:]+:iam::\d{12}:root$/.test(principal);
}

/** How a statement names a principal. `*` and a role's own ARN allow by themselves; an account only delegates. */
function naming(statement: Statement, principal: string): 'itself' | 'its account' | undefined {
  if (statement.NotPrincipal !== undefined) {
    return namingBy(statement.NotPrincipal, principal) === undefined ? 'itself' : undefined;
  }
  return statement.Principal === undefined ? undefined : namingBy(statement.Principal, principal);
}

function namingBy(
  names: NonNullable<Statement['Principal']>,
  principal: string,
): 'itself' | 'its account' | undefined {
  if (names === '*') return 'itself';
  const account = accountOf(principal);
  if (account === undefined) {
    return listOf(names['Service']).includes(principal) ? 'itself' : undefined;
  }
  const named = listOf(names['AWS']);
  if (named.includes('*') || (named.includes(principal) && !isRoot(principal))) return 'itself';
  const isDelegated = named.some(
    (name) => name === account || (isRoot(name) && accountOf(name) === account),
  );
  return isDelegated ? 'its account' : undefined;
}

function applies(statement: Statement, { action, resource, context = {} }: AccessRequest): boolean {
  const { Action, NotAction, Resource, NotResource } = statement;
  const hasAction = (patterns: OneOrMore): boolean =>
    listOf(patterns).some((pattern) => like(pattern.toLowerCase(), action.toLowerCase()));
  const hasResource = (patterns: OneOrMore): boolean =>
    listOf(patterns).some((pattern) => like(pattern, resource));
  return (
    (NotAction === undefined ? hasAction(Action ?? []) : !hasAction(NotAction)) &&
    (NotResource === undefined ? hasResource(Resource ?? []) : !hasResource(NotResource)) &&
    Object.entries(statement.Condition ?? {}).every(([operator, keys]) =>
      Object.entries(keys).every(([key, wanted]) =>
        holds(operator, valueOf(context, key), [wanted].flat().map(String)),
      ),
    )
  );
}

/** Names of condition keys are not case-sensitive. */
function valueOf(context: Readonly<Record<string, OneOrMore>>, key: string): OneOrMore | undefined {
  return Object.entries(context).find(([name]) => name.toLowerCase() === key.toLowerCase())?.[1];
}

type Test = (value: string, wanted: string) => boolean;

const OPERATORS: Readonly<Record<string, Test>> = {
  StringEquals: (value, wanted) => value === wanted,
  StringEqualsIgnoreCase: (value, wanted) => value.toLowerCase() === wanted.toLowerCase(),
  StringLike: (value, wanted) => like(wanted, value),
  ArnEquals: (value, wanted) => like(wanted, value),
  ArnLike: (value, wanted) => like(wanted, value),
  Bool: (value, wanted) => value.toLowerCase() === wanted.toLowerCase(),
};

/** An operator that begins so is the other one, negated: it is true when none of its values fits. */
const NEGATIONS: Readonly<Record<string, string>> = {
  StringNotEquals: 'StringEquals',
  StringNotEqualsIgnoreCase: 'StringEqualsIgnoreCase',
  StringNotLike: 'StringLike',
  ArnNotEquals: 'ArnEquals',
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
  const [quantifier, name = operator] = operator.includes(':') ? operator.split(':') : [undefined];
  const negated = NEGATIONS[name];
  const fits = OPERATORS[negated ?? name];
  if (fits === undefined)
    throw new Error(`The tests do not know the condition operator ${operator}.`);
  // Without the key, a negation holds, and so does everything that is asked of all of no values.
  if (actual === undefined) {
    return quantifier === 'ForAllValues' || (quantifier === undefined && negated !== undefined);
  }
  const one = (value: string): boolean =>
    wanted.some((text) => fits(value, text)) === (negated === undefined);
  return quantifier === 'ForAllValues' ? listOf(actual).every(one) : listOf(actual).some(one);
}

/** `*` is any text, `?` any character. */
function like(pattern: string, text: string): boolean {
  const expression = pattern
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${expression}$`, 's').test(text);
}
