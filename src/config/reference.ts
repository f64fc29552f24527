import { INHERITED, PROVIDER_MEMBERS, TOKEN_MEMBERS } from './named-tokens.js';
import { fileKey, SETTING_NAMES, settingOf, type SettingName } from './settings.js';

/** One row of the configuration table. */
interface ConfigReferenceRow {
  /** The environment variable. */
  readonly name: string;
  /** The key in the file that `BROKER_CONFIG` names; `undefined` for `BROKER_CONFIG` itself. */
  readonly fileKey: string | undefined;
  /** The default text, or a description of the default. */
  readonly default: string;
  /** True when `default` is a value, false when it describes one. */
  readonly defaultIsValue: boolean;
  readonly allowed: string;
  readonly does: string;
}

/** Every setting, as docs/configuration.md and `serve --help` show it. */
export const CONFIG_REFERENCE: readonly ConfigReferenceRow[] = [
  {
    name: 'BROKER_CONFIG',
    fileKey: undefined,
    default: 'none',
    defaultIsValue: false,
    allowed: 'the path of a YAML file',
    does: 'A file of settings. Environment variables take precedence; an unknown key is a mistake.',
  },
  ...SETTING_NAMES.map((name): ConfigReferenceRow => {
    const setting = settingOf(name);
    return {
      name,
      fileKey: fileKey(name),
      default: setting.default ?? setting.defaultNote ?? 'none',
      defaultIsValue: setting.default !== undefined,
      allowed: setting.allowed,
      does: setting.does,
    };
  }),
];

/** The table between these markers in docs/configuration.md is {@link configReferenceMarkdown}. */
export const CONFIG_MARKERS = {
  start: '<!-- config:start -->',
  end: '<!-- config:end -->',
} as const;

/** The configuration table as Markdown. */
export function configReferenceMarkdown(): string {
  const rows = CONFIG_REFERENCE.map((row) => {
    const value = row.defaultIsValue ? `\`${row.default}\`` : row.default;
    const key = row.fileKey === undefined ? '' : `\`${row.fileKey}\``;
    return `| \`${row.name}\` | ${key} | ${value} | ${row.allowed} | ${row.does} |`;
  });
  return [
    '| variable | key in the file | default | allowed | does |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

/** The table of a section between the markers of its name in docs/several-tokens.md is {@link sectionReferenceMarkdown}. */
export function sectionMarkers(section: 'providers' | 'tokens'): {
  readonly start: string;
  readonly end: string;
} {
  return { start: `<!-- ${section}:start -->`, end: `<!-- ${section}:end -->` };
}

/** What an entry of a section may have, as Markdown: each member, the flat setting that reads it, and what counts without it. */
export function sectionReferenceMarkdown(section: 'providers' | 'tokens'): string {
  const members: Readonly<Record<string, SettingName>> =
    section === 'tokens' ? TOKEN_MEMBERS : PROVIDER_MEMBERS;
  const rows = Object.entries(members).map(([member, name]) => {
    const { default: text, defaultNote = 'none' } = settingOf(name);
    const builtIn = text === undefined ? defaultNote : `\`${text}\``;
    const own = name === 'BROKER_TOKEN_SECRET_ID' ? 'it is required' : builtIn;
    return `| \`${member}\` | \`${name}\` | ${INHERITED.has(name) ? 'the flat setting' : own} |`;
  });
  const provider = '| `provider` | | the only provider; with several it is required |';
  return [
    `| member | flat setting | left out |`,
    '| --- | --- | --- |',
    ...(section === 'tokens' ? [provider] : []),
    ...rows,
  ].join('\n');
}

/** The configuration table as plain text for `serve --help`, lines of at most `width` characters. */
export function configReferenceText(width = 100): string {
  return CONFIG_REFERENCE.map((row) =>
    [
      row.fileKey === undefined ? row.name : `${row.name} (in the file: ${row.fileKey})`,
      ...wrap(row.does, width),
      ...wrap(`Allowed: ${row.allowed}.`, width),
      ...wrap(`Default: ${row.default.replaceAll('`', '')}`, width),
    ].join('\n      '),
  )
    .map((entry) => `  ${entry}`)
    .join('\n');
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length + 7 <= width) {
      lines[lines.length - 1] = `${last} ${word}`;
    } else {
      lines.push(word);
    }
  }
  return lines;
}
