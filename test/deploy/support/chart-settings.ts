import {
  CLIENT_AUTHENTICATION_METHODS,
  LOG_LEVELS,
  PROFILE_NAMES,
  SETTING_NAMES,
  settingOf,
  type SettingName,
} from '../../../src/config/settings.js';

/** The settings that values cannot have, because the chart decides them, or because they are not for brokers in pods. */
export const CHARTS_OWN = {
  PORT: '3000',
  HOST: '0.0.0.0',
  BROKER_MANAGEMENT_PORT: '8081',
  BROKER_MANAGEMENT_HOST: '0.0.0.0',
  BROKER_CONFIG: 'file',
  BROKER_DATA_DIR: 'the volume',
  BROKER_TLS_CERT_FILE: 'tls',
  BROKER_TLS_KEY_FILE: 'tls',
  BROKER_TLS_CLIENT_CA_FILE: 'tls',
  BROKER_CA_FILE: 'caBundle',
  BROKER_WORKLOAD_TOKEN_FILE: 'provider.tokenAudience',
  BROKER_CLIENT_CERTIFICATE_FILE: 'provider.certificateSecretName',
  BROKER_CLIENT_KEY_FILE: 'provider.certificateSecretName',
  BROKER_MASTER_KEY: 'secretSettings',
} as const;
export const NOT_IN_PODS: readonly string[] = ['BROKER_HTTP_IAM_PEERS', 'BROKER_DEV_PROVIDER_PORT'];

const CHOICES: Readonly<Partial<Record<SettingName, readonly string[]>>> = {
  BROKER_SECRET_STORE: ['aws', 'embedded'],
  BROKER_CLIENT_AUTHENTICATION: CLIENT_AUTHENTICATION_METHODS,
  BROKER_PROFILE: PROFILE_NAMES,
  BROKER_LOG_LEVEL: LOG_LEVELS,
  BROKER_LOG_FORMAT: ['json', 'text'],
  BROKER_ROTATION: ['enabled', 'disabled'],
  BROKER_KMS_ALGORITHM: ['RS256', 'PS256', 'ES256'],
  BROKER_AWS_TOKEN_ALGORITHM: ['RS256', 'ES384'],
  BROKER_TOKEN_TYP: ['at+jwt'],
};
const NUMBERS = /^(?:a whole number|whole seconds) (?:from (\d+) to|up to) (\d+)/;

/** The JSON schemas of the chart's `settings`, from the broker's own settings. */
export function chartSettings(): Readonly<Record<string, object>> {
  const settings = SETTING_NAMES.filter(
    (name) => !(name in CHARTS_OWN) && !NOT_IN_PODS.includes(name),
  );
  return {
    AWS_REGION: {
      description: 'The AWS Region of the secrets, and of keys in KMS.',
      type: 'string',
      pattern: '^[a-z]{2}(-[a-z]+)+-[0-9]+$',
    },
    ...Object.fromEntries(settings.map((name) => [name, schemaOf(name)])),
  };
}

function schemaOf(name: SettingName): object {
  const { does, allowed } = settingOf(name);
  const plain = `${does} Allowed: ${allowed}.`.replaceAll(/\[([^\]]+)\]\([^)]+\)/g, '$1');
  return { description: plain, ...formOf(name, allowed) };
}

function formOf(name: SettingName, allowed: string): object {
  const choices = CHOICES[name];
  if (choices !== undefined) return { enum: choices };
  if (allowed === 'true or false') return { enum: [true, false, 'true', 'false'] };
  const [, least = '0', most] = NUMBERS.exec(allowed) ?? [];
  if (most !== undefined) {
    return {
      type: ['integer', 'string'],
      minimum: Number(least),
      maximum: Number(most),
      pattern: '^[0-9]+$',
    };
  }
  const text = { type: 'string', minLength: 1 };
  if (allowed.startsWith('an https URL')) return { ...text, pattern: '^https?://[^\\s/]+' };
  // A password belongs into secretSettings.
  if (name === 'HTTPS_PROXY' || name === 'HTTP_PROXY') return { ...text, pattern: '^[^@\\s]+$' };
  if (name === 'BROKER_ROTATION_CRON') {
    return { ...text, pattern: String.raw`^\s*(\S+\s+){4,5}\S+\s*$` };
  }
  if (name === 'BROKER_AUDIT') return { ...text, pattern: '^(off|stdout|/.+)$' };
  return text;
}
