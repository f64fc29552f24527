/** A CloudFormation template, as far as the tests look into it. */
export interface Template {
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Outputs: Readonly<Record<string, { readonly Value: unknown }>>;
  readonly Conditions?: Readonly<Record<string, unknown>>;
}

/** One resource of a template. */
export interface Resource {
  readonly Type: string;
  readonly Properties?: Readonly<Record<string, unknown>>;
  readonly DependsOn?: string | readonly string[];
  readonly DeletionPolicy?: string;
  readonly UpdateReplacePolicy?: string;
  /** The name of the condition under which the resource is made. */
  readonly Condition?: string;
}

/** A resource whose references are texts. */
export interface DrawnResource {
  readonly id: string;
  readonly type: string;
  readonly properties: Readonly<Record<string, unknown>>;
  readonly dependsOn: readonly string[];
  readonly deletionPolicy: string | undefined;
  readonly updateReplacePolicy: string | undefined;
}

const ACCOUNT = '123456789012';

/** What the pseudo parameters stand for in {@link drawStack}. */
export const PSEUDO: Readonly<Record<string, string>> = {
  'AWS::AccountId': ACCOUNT,
  'AWS::Partition': 'aws',
  'AWS::Region': 'eu-central-1',
  'AWS::StackName': 'service-token-broker-dev',
};

const NOTHING = Symbol('AWS::NoValue');

/**
 * The stack as CloudFormation would make it: every reference replaced by an ARN, a name or a URL of the right form, and
 * without the resources whose condition is false. An intrinsic function or an attribute that it does not know is an
 * error, so that nothing is overlooked.
 */
export function drawStack(template: Template): ReadonlyMap<string, DrawnResource> {
  const draw = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(draw).filter((item) => item !== NOTHING);
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value);
    const [name, argument] = entries[0] ?? [];
    if (entries.length === 1 && (name === 'Ref' || name?.startsWith('Fn::') === true)) {
      return intrinsic(name, argument);
    }
    return Object.fromEntries(
      entries
        .map(([key, item]) => [key, draw(item)] as const)
        .filter(([, item]) => item !== NOTHING),
    );
  };

  const intrinsic = (name: string, argument: unknown): unknown => {
    switch (name) {
      case 'Ref':
        return reference(String(argument));
      case 'Fn::GetAtt': {
        const [id = '', attribute = ''] = argument as string[];
        return attributeOf(id, resourceOf(id), attribute);
      }
      case 'Fn::Sub':
        return String(argument).replaceAll(/\$\{([^}]+)\}/g, (_, inner: string) => {
          const [id = '', attribute] = inner.split('.');
          return String(
            attribute === undefined ? reference(id) : attributeOf(id, resourceOf(id), attribute),
          );
        });
      case 'Fn::Join': {
        const [separator, parts] = draw(argument) as [string, string[]];
        return parts.join(separator);
      }
      case 'Fn::Select': {
        const [index, parts] = draw(argument) as [number, string[]];
        return parts[index];
      }
      case 'Fn::Split': {
        const [separator, text] = draw(argument) as [string, string];
        return text.split(separator);
      }
      case 'Fn::If': {
        const [condition, then, otherwise] = argument as [string, unknown, unknown];
        return draw(isTrue({ Condition: condition }) ? then : otherwise);
      }
      default:
        throw new Error(`The tests do not know the intrinsic function ${name}.`);
    }
  };

  /** Whether a condition holds: a name, or one of CloudFormation's functions. */
  const isTrue = (condition: unknown): boolean => {
    const [name = '', argument] = Object.entries(condition as object)[0] ?? [];
    const parts = argument as readonly unknown[];
    switch (name) {
      case 'Condition': {
        const named = template.Conditions?.[String(argument)];
        if (named === undefined) throw new Error(`There is no condition ${String(argument)}.`);
        return isTrue(named);
      }
      case 'Fn::Equals':
        return draw(parts[0]) === draw(parts[1]);
      case 'Fn::Not':
        return !isTrue(parts[0]);
      default:
        throw new Error(`The tests do not know the condition function ${name}.`);
    }
  };

  const resourceOf = (id: string): Resource => {
    const resource = template.Resources[id];
    if (resource === undefined) throw new Error(`The template has no resource ${id}.`);
    return resource;
  };

  const reference = (id: string): unknown => {
    if (id === 'AWS::NoValue') return NOTHING;
    const pseudo = PSEUDO[id];
    if (pseudo !== undefined) return pseudo;
    const resource = resourceOf(id);
    if (NAMED_BY_ARN.has(resource.Type)) return arnOf(id, resource.Type);
    const name = resource.Properties?.['FunctionName'] ?? resource.Properties?.['LogGroupName'];
    return name === undefined ? id : draw(name);
  };

  return new Map(
    Object.entries(template.Resources)
      .filter(([, { Condition }]) => Condition === undefined || isTrue({ Condition }))
      .map(([id, resource]) => [
        id,
        {
          id,
          type: resource.Type,
          properties: draw(resource.Properties ?? {}) as Readonly<Record<string, unknown>>,
          dependsOn: [resource.DependsOn ?? []].flat(),
          deletionPolicy: resource.DeletionPolicy,
          updateReplacePolicy: resource.UpdateReplacePolicy,
        },
      ]),
  );
}

/** The resources of one type. */
export function ofType(
  stack: ReadonlyMap<string, DrawnResource>,
  type: string,
): readonly DrawnResource[] {
  return [...stack.values()].filter((resource) => resource.type === type);
}

/** One resource by its logical id. */
export function resource(stack: ReadonlyMap<string, DrawnResource>, id: string): DrawnResource {
  const found = stack.get(id);
  if (found === undefined) throw new Error(`The stack has no resource ${id}.`);
  return found;
}

/** Types whose `Ref` is the ARN. */
const NAMED_BY_ARN: ReadonlySet<string> = new Set([
  'AWS::SecretsManager::Secret',
  'AWS::SNS::Topic',
  'AWS::IAM::ManagedPolicy',
]);

/** The ARN of a resource in the drawn stack. */
export function arnOf(id: string, type: string): string {
  const inRegion = (service: string, rest: string): string =>
    `arn:aws:${service}:eu-central-1:${ACCOUNT}:${rest}`;
  switch (type) {
    case 'AWS::SecretsManager::Secret':
      return inRegion('secretsmanager', `secret:${id}-AbCdEf`);
    case 'AWS::KMS::Key':
      return inRegion('kms', `key/${id}`);
    case 'AWS::Lambda::Function':
      return inRegion('lambda', `function:${id}`);
    case 'AWS::SQS::Queue':
      return inRegion('sqs', id);
    case 'AWS::SNS::Topic':
      return inRegion('sns', id);
    case 'AWS::Events::Rule':
      return inRegion('events', `rule/${id}`);
    case 'AWS::Logs::LogGroup':
      return inRegion('logs', `log-group:${id}:*`);
    case 'AWS::IAM::Role':
      return `arn:aws:iam::${ACCOUNT}:role/${id}`;
    case 'AWS::IAM::ManagedPolicy':
      return `arn:aws:iam::${ACCOUNT}:policy/${id}`;
    default:
      throw new Error(`The tests do not know the ARN of a ${type}.`);
  }
}

function attributeOf(id: string, { Type }: Resource, attribute: string): unknown {
  if (attribute === 'Arn') return arnOf(id, Type);
  if (attribute === 'QueueName') return id;
  if (attribute === 'DnsEntries') {
    return ['Z0ABC:vpce-0abc.secretsmanager.eu-central-1.vpce.amazonaws.com'];
  }
  throw new Error(`The tests do not know the attribute ${attribute} of ${id}.`);
}
