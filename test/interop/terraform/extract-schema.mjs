// Writes provider/schema.json: the schemas of what deploy/terraform uses, out of the package that the Terraform CDK
// generates from them. `node test/interop/terraform/extract-schema.mjs FOLDER`, with FOLDER/package unpacked from
// `npm pack @cdktf/provider-aws@21.22.1`, which has hashicorp/aws 6.25.0.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

const RESOURCES = [
  'cloudwatch_event_rule',
  'cloudwatch_event_target',
  'cloudwatch_log_group',
  'cloudwatch_log_metric_filter',
  'cloudwatch_metric_alarm',
  'iam_policy',
  'iam_role',
  'iam_role_policy',
  'iam_role_policy_attachment',
  'kms_alias',
  'kms_key',
  'lambda_function',
  'lambda_function_url',
  'lambda_permission',
  'secretsmanager_secret',
  'secretsmanager_secret_policy',
  'secretsmanager_secret_rotation',
  'security_group',
  'sns_topic',
  'sns_topic_policy',
  'sns_topic_subscription',
  'sqs_queue',
  'sqs_queue_policy',
  'vpc_endpoint',
];
const DATA_SOURCES = ['caller_identity', 'partition', 'region'];

const folder = process.argv[2];
const file = (name, ending) =>
  readFileSync(join(folder, 'package/lib', name.replaceAll('_', '-'), `index.${ending}`), 'utf8');

const SIMPLE = { string: 'string', number: 'number', boolean: 'bool' };

/** What the provider alone decides, as in comments of the package; and these two, which a configuration may set. */
const DECIDED_UNLESS_SET = new Set(['id', 'region']);

/** A type of the package, `name`, as a block of `terraform providers schema -json`. */
function blockOf(name, types, code, settings, classText) {
  const declared = new RegExp(`export interface ${name} [^{]*\\{([\\s\\S]*?)\\n\\}`).exec(types)[1];
  const attributes = {};
  const block_types = {};
  const members = declared.matchAll(/#(\w+) [\w.]+#\w+\}[\s\S]*?readonly \w+(\??): ([^;]+);/g);
  for (const [, attribute, mark, type] of members) {
    if (attribute === 'timeouts') continue;
    const [, isBlock, kind, storage] = new RegExp(
      `\\b${attribute}: \\{[^}]*?isBlock: (\\w+),\\s*type: "(\\w+)",\\s*storageClassType: "(\\w+)"`,
    ).exec(settings);
    if (isBlock === 'true') {
      const struct = storage.replace(/List$/, '');
      const own = new RegExp(
        `function ${struct[0].toLowerCase()}${struct.slice(1)}ToHclTerraform\\([\\s\\S]*?\\n\\}`,
      ).exec(code)[0];
      block_types[attribute] = {
        nesting_mode: kind === 'set' ? 'set' : 'list',
        ...(mark === '' && { min_items: 1 }),
        ...(!type.includes('[]') && { max_items: 1 }),
        block: blockOf(struct, types, code, own, ''),
      };
      continue;
    }
    const element = SIMPLE[storage.replace(/(?:List|Map)$/, '')];
    attributes[attribute] = {
      type: kind === 'simple' ? element : [kind, element],
      ...(mark === '' ? { required: true } : { optional: true }),
      ...(mark !== '' && DECIDED_UNLESS_SET.has(attribute) && { computed: true }),
    };
  }
  const decided = classText.matchAll(
    /\/\/ (\w+) - computed: true, optional: false, required: false\n([\s\S]*?)\n {4}\}/g,
  );
  for (const [, attribute, getter] of decided) {
    const [, type] = /get(\w+)Attribute/.exec(getter) ?? [];
    attributes[attribute] = {
      type: {
        String: 'string',
        Number: 'number',
        Boolean: 'bool',
        List: ['list', 'string'],
        StringMap: ['map', 'string'],
      }[type],
      computed: true,
    };
  }
  for (const [, kind, attribute] of classText.matchAll(
    /new (\w+List)\(this, "(\w+)", (?:true|false)\)/g,
  )) {
    if (
      attribute in block_types ||
      (attribute in attributes && attributes[attribute].type !== undefined)
    )
      continue;
    const element = new RegExp(
      `class ${kind.replace(/List$/, 'OutputReference')} [\\s\\S]*?\\n\\}`,
    ).exec(code)[0];
    const names = [...element.matchAll(/\/\/ (\w+) - computed/g)].map(([, key]) => [key, 'string']);
    attributes[attribute] = {
      type: ['list', ['object', Object.fromEntries(names)]],
      computed: true,
    };
  }
  for (const [attribute, { type }] of Object.entries(attributes)) {
    if (type === undefined) throw new Error(`The type of ${name}.${attribute} is not known.`);
  }
  return { attributes, ...(Object.keys(block_types).length > 0 && { block_types }) };
}

function schemaOf(name) {
  const code = file(name, 'js');
  const [classText, title] =
    /class (\w+) extends cdktf\.Terraform(?:Resource|DataSource)[\s\S]*?\n\}/.exec(code);
  const settings = /synthesizeHclAttributes\(\) \{[\s\S]*$/.exec(classText)[0];
  return blockOf(`${title}Config`, file(name, 'd.ts'), code, settings, classText);
}

const string = { type: 'string', optional: true };
const computed = { type: 'string', computed: true };
const aws = {
  provider: { attributes: { region: string, profile: string } },
  resources: Object.fromEntries(RESOURCES.map((name) => [`aws_${name}`, schemaOf(name)])),
  data_sources: Object.fromEntries(
    DATA_SOURCES.map((name) => [`aws_${name}`, schemaOf(`data_aws_${name}`)]),
  ),
};
// New in 6.29.0, by the changelog of the provider.
aws.resources.aws_lambda_permission.attributes.invoked_via_function_url ??= {
  type: 'bool',
  optional: true,
};

const schema = {
  aws,
  // By their documentation.
  archive: {
    provider: { attributes: {} },
    resources: {},
    data_sources: {
      archive_file: {
        attributes: {
          type: { type: 'string', required: true },
          output_path: { type: 'string', required: true },
          output_file_mode: string,
          source_content: string,
          source_content_filename: string,
          source_dir: string,
          source_file: string,
          excludes: { type: ['set', 'string'], optional: true },
          exclude_symlink_directories: { type: 'bool', optional: true },
          id: computed,
          output_base64sha256: computed,
          output_base64sha512: computed,
          output_md5: computed,
          output_sha: computed,
          output_sha256: computed,
          output_sha512: computed,
          output_size: { type: 'number', computed: true },
        },
        block_types: {
          source: {
            nesting_mode: 'set',
            block: {
              attributes: {
                content: { type: 'string', required: true },
                filename: { type: 'string', required: true },
              },
            },
          },
        },
      },
    },
  },
  external: {
    provider: { attributes: {} },
    resources: {},
    data_sources: {
      external: {
        attributes: {
          program: { type: ['list', 'string'], required: true },
          query: { type: ['map', 'string'], optional: true },
          working_dir: string,
          id: computed,
          result: { type: ['map', 'string'], computed: true },
        },
      },
    },
  },
};
const target = fileURLToPath(new URL('provider/schema.json', import.meta.url));
writeFileSync(target, `${JSON.stringify(schema)}\n`);
