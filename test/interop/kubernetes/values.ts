const image = {
  repository: 'registry.example.test/service-token-broker',
  digest: `sha256:${'0a'.repeat(32)}`,
};
const provider = {
  BROKER_ISSUER: 'https://tenant.example.test/',
  BROKER_AUDIENCE: 'https://services.example.test',
};
/** The least with AWS Secrets Manager. */
export const AWS = { image, settings: { ...provider, AWS_REGION: 'eu-central-1' } };
const secretSettings = { BROKER_MASTER_KEY: { name: 'broker-master-key', key: 'master-key' } };
/** The least with the embedded store. */
export const EMBEDDED = {
  image,
  settings: { ...provider, BROKER_SECRET_STORE: 'embedded' },
  secretSettings,
};
const INGRESS = { enabled: true, host: 'broker.example.test', tls: { secretName: 'broker-tls' } };
const CLUSTER = {
  kind: 'kubernetes',
  issuer: 'https://kubernetes.default.svc.cluster.local',
  jwks_uri: 'https://kubernetes.default.svc/openid/v1/jwks',
};
const PROXY = [{ to: [{ ipBlock: { cidr: '10.0.0.7/32' } }], ports: [{ port: 3128 }] }];

const API_TOKEN = '/var/run/secrets/kubernetes.io/serviceaccount/token';
/** Adds to values, as several --values do. */
export function merged<Values extends object>(base: Values, changes: object): Values {
  const inner = (one: unknown, other: unknown): unknown =>
    isPlain(one) && isPlain(other) ? merged(one, other) : other;
  const entries = Object.entries(changes).map(([name, value]: [string, unknown]) => [
    name,
    inner((base as Record<string, unknown>)[name], value),
  ]);
  return { ...base, ...Object.fromEntries(entries) };
}
const isPlain = (value: unknown): value is object =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** With a trusted issuer in the broker's file. */
const FILE = merged(AWS, {
  settings: { BROKER_PUBLIC_URL: 'https://broker.example.test' },
  file: { sections: { trusted_issuers: { cluster: CLUSTER } } },
});
/** Values that the chart takes, and what it makes of them. */
export const GOOD: readonly (readonly [what: string, values: object, kinds: readonly string[]])[] =
  [
    ['AWS, the least', AWS, ['PodDisruptionBudget', 'NetworkPolicy']],
    [
      'EKS with IRSA, an ingress, a number that follows the load, and the Prometheus Operator',
      merged(AWS, {
        serviceAccount: { roleArn: 'arn:aws:iam::123456789012:role/broker' },
        settings: { BROKER_PROFILE: 'auth0', BROKER_MIN_REMAINING_SECONDS: 2_592_000 },
        ingress: INGRESS,
        autoscaling: { enabled: true },
        serviceMonitor: { enabled: true, labels: { release: 'prometheus' } },
        prometheusRule: { enabled: true, rotationMissingSeconds: 5400 },
      }),
      [
        'PodDisruptionBudget',
        'NetworkPolicy',
        'Ingress',
        'HorizontalPodAutoscaler',
        'ServiceMonitor',
        'PrometheusRule',
        'Service',
      ],
    ],
    ['the embedded store', EMBEDDED, ['NetworkPolicy', 'PersistentVolumeClaim']],
    [
      'the embedded store, on a volume of one’s own, with the key in KMS, and an audit beside it',
      {
        image,
        settings: {
          ...provider,
          BROKER_SECRET_STORE: 'embedded',
          AWS_REGION: 'eu-central-1',
          BROKER_MASTER_KEY_KMS_ID: 'alias/broker',
          BROKER_AUDIT: '/var/lib/service-token-broker/data/audit.log',
        },
        persistence: { existingClaim: 'broker-volume' },
      },
      ['NetworkPolicy'],
    ],
    [
      'everything that is mounted, TLS of its own, and a proxy',
      merged(AWS, {
        image: { digest: '', tag: '1.2.3' },
        imagePullSecrets: [{ name: 'registry' }],
        settings: {
          BROKER_CLIENT_AUTHENTICATION: 'mtls',
          BROKER_CLIENT_ID: 'broker',
          BROKER_PUBLIC_URL: 'https://broker.example.test:8443',
          BROKER_ALLOW_INSECURE_HTTP: false,
          NO_PROXY: '10.0.0.0/8,.svc',
        },
        secretSettings: { HTTPS_PROXY: { name: 'proxy', key: 'url' } },
        tls: { secretName: 'broker-tls', clientCaKey: 'ca.crt' },
        caBundle: { configMap: 'authorities' },
        provider: { certificateSecretName: 'client-certificate' },
        clusterKeys: { enabled: true },
        file: { sections: { trusted_issuers: { cluster: CLUSTER }, peers: {} } },
        service: { type: 'LoadBalancer', annotations: { 'example.test/scheme': 'internal' } },
        networkPolicy: { extraEgress: PROXY },
        replicas: 5,
        podDisruptionBudget: { minAvailable: 3, maxUnavailable: null },
        podSecurityContext: { runAsUser: null, runAsGroup: null, fsGroup: null },
        podAnnotations: { 'example.test/team': 'identity' },
        podLabels: { team: 'identity' },
        nodeSelector: { 'kubernetes.io/arch': 'arm64' },
        tolerations: [{ key: 'dedicated', operator: 'Exists' }],
        affinity: { podAntiAffinity: {} },
        priorityClassName: 'system-cluster-critical',
        extraEnv: [{ name: 'NODE_EXTRA_CA_CERTS', value: '/extra/ca.crt' }],
        extraVolumes: [{ name: 'extra', emptyDir: {} }],
        extraVolumeMounts: [{ name: 'extra', mountPath: '/extra' }],
      }),
      ['PodDisruptionBudget', 'NetworkPolicy', 'ConfigMap'],
    ],
    [
      'several tokens in a file of one’s own, a token of the pod for the provider, another account, nothing optional',
      {
        image,
        settings: {
          AWS_REGION: 'eu-central-1',
          BROKER_CLIENT_AUTHENTICATION: 'workload_token',
          BROKER_AWS_ROLE_ARN: 'arn:aws:iam::222222222222:role/secrets',
          BROKER_AWS_EXTERNAL_ID: 'broker-7f3a',
          BROKER_SHUTDOWN_DELAY_SECONDS: '60',
        },
        provider: { tokenAudience: 'api://AzureADTokenExchange' },
        file: { existingConfigMap: 'broker-file', key: 'tokens.yml' },
        serviceAccount: { create: false, name: 'broker' },
        networkPolicy: { enabled: false },
        podDisruptionBudget: { enabled: false },
        replicas: 1,
      },
      [],
    ],
  ];
/** Values that the chart refuses, each by the name of a value. */
export const BAD: readonly (readonly [name: string, values: object])[] = [
  ['image.repository', merged(AWS, { image: { repository: '' } })],
  ['settings.AWS_REGION', { image, settings: provider }],
  ['settings.BROKER_ISSUER', merged(AWS, { settings: { BROKER_ISSUER: '' } })],
  [
    'settings.BROKER_AUDIENCE',
    { image, settings: { AWS_REGION: 'eu-central-1', BROKER_ISSUER: provider.BROKER_ISSUER } },
  ],
  ['settings.BROKER_ISSUER', { image, settings: { AWS_REGION: 'eu-central-1' } }],
  ['settings.BROKER_ISSUER', merged(AWS, { settings: { BROKER_ISSUER: 'http://keycloak:8080/' } })],
  [
    'networkPolicy.extraEgress',
    merged(AWS, { settings: { BROKER_ISSUER: 'https://keycloak:8443/' } }),
  ],
  [
    'networkPolicy.extraEgress',
    merged(AWS, { settings: { HTTPS_PROXY: 'proxy.example.test:3128' } }),
  ],
  ['settings.BROKER_SERVICE_CLIENT_IDS', merged(AWS, { settings: { BROKER_PROFILE: 'zitadel' } })],
  ['replicas', merged(EMBEDDED, { replicas: 2 })],
  ['autoscaling.enabled', merged(EMBEDDED, { autoscaling: { enabled: true } })],
  ['replicas', merged(AWS, { replicas: 2, autoscaling: { enabled: true } })],
  ['autoscaling.minReplicas', merged(AWS, { autoscaling: { enabled: true, minReplicas: 9 } })],
  [
    'resources.requests.cpu',
    merged(AWS, { autoscaling: { enabled: true }, resources: { requests: { cpu: null } } }),
  ],
  ['podDisruptionBudget.minAvailable', merged(AWS, { podDisruptionBudget: { minAvailable: 1 } })],
  [
    'podDisruptionBudget.minAvailable',
    merged(AWS, { podDisruptionBudget: { minAvailable: 2, maxUnavailable: null } }),
  ],
  [
    'podDisruptionBudget.maxUnavailable',
    merged(AWS, { podDisruptionBudget: { maxUnavailable: null } }),
  ],
  ['secretSettings.BROKER_MASTER_KEY', merged(EMBEDDED, { secretSettings: null })],
  ['secretSettings.BROKER_MASTER_KEY', merged(AWS, { secretSettings })],
  [
    'settings.BROKER_MASTER_KEY_KMS_ID',
    merged(AWS, { settings: { BROKER_MASTER_KEY_KMS_ID: 'alias/broker' } }),
  ],
  [
    'settings.AWS_REGION',
    merged(EMBEDDED, {
      secretSettings: null,
      settings: { BROKER_MASTER_KEY_KMS_ID: 'alias/broker' },
    }),
  ],
  ['persistence.existingClaim', merged(AWS, { persistence: { existingClaim: 'volume' } })],
  [
    'settings.BROKER_AWS_ROLE_ARN',
    merged(EMBEDDED, {
      settings: { BROKER_AWS_ROLE_ARN: 'arn:aws:iam::222222222222:role/secrets' },
    }),
  ],
  [
    'settings.BROKER_AWS_FALLBACK_REGIONS',
    merged(EMBEDDED, { settings: { BROKER_AWS_FALLBACK_REGIONS: 'eu-west-1' } }),
  ],
  [
    'settings.BROKER_AWS_EXTERNAL_ID',
    merged(AWS, { settings: { BROKER_AWS_EXTERNAL_ID: 'broker-7f3a' } }),
  ],
  [
    'settings.BROKER_TOKEN_SECRET_ID',
    merged(AWS, { settings: { BROKER_TOKEN_SECRET_ID: 'service-token-broker/credentials' } }),
  ],
  [
    'settings.BROKER_PEERS_SECRET_ID',
    merged(AWS, { settings: { BROKER_PEERS_SECRET_ID: 'peers, service-token-broker/token' } }),
  ],
  [
    'settings.BROKER_KMS_KEY_ID',
    merged(AWS, { settings: { BROKER_CLIENT_AUTHENTICATION: 'kms' } }),
  ],
  ['settings.BROKER_KMS_KEY_ID', merged(AWS, { settings: { BROKER_KMS_KEY_ID: 'alias/broker' } })],
  [
    'provider.tokenAudience',
    merged(AWS, { settings: { BROKER_CLIENT_AUTHENTICATION: 'workload_token' } }),
  ],
  ['provider.tokenAudience', merged(AWS, { provider: { tokenAudience: 'api://provider' } })],
  [
    'settings.BROKER_AWS_TOKEN_AUDIENCE',
    merged(AWS, { settings: { BROKER_AWS_TOKEN_AUDIENCE: 'https://idp.example.test' } }),
  ],
  [
    'provider.certificateSecretName',
    merged(AWS, { provider: { certificateSecretName: 'certificate' } }),
  ],
  [
    'settings.BROKER_MIN_REMAINING_SECONDS',
    merged(AWS, { settings: { BROKER_MIN_REMAINING_SECONDS: 360 } }),
  ],
  [
    'secretSettings.HTTPS_PROXY',
    merged(AWS, {
      settings: { HTTPS_PROXY: 'proxy:3128' },
      secretSettings: { HTTPS_PROXY: { name: 'proxy', key: 'url' } },
      networkPolicy: { extraEgress: PROXY },
    }),
  ],
  ['extraEnv', merged(AWS, { extraEnv: [{ name: 'BROKER_PROFILE', value: 'auth0' }] })],
  ['extraEnv', merged(AWS, { extraEnv: [{ name: 'AWS_SECRET_ACCESS_KEY', value: 'x' }] })],
  [
    'file.existingConfigMap',
    merged(AWS, {
      file: { existingConfigMap: 'broker-file', sections: { peers: { orders: {} } } },
    }),
  ],
  [
    'settings.BROKER_PUBLIC_URL',
    merged(AWS, { file: { sections: { trusted_issuers: { cluster: CLUSTER } } } }),
  ],
  ['settings.BROKER_AUDIT', merged(AWS, { settings: { BROKER_AUDIT: '/var/log/audit.log' } })],
  ['serviceAccount.name', merged(AWS, { serviceAccount: { create: false } })],
  [
    'serviceAccount.roleArn',
    merged(AWS, {
      serviceAccount: {
        create: false,
        name: 'broker',
        roleArn: 'arn:aws:iam::123456789012:role/broker',
      },
    }),
  ],
  [
    'serviceAccount.roleArn',
    merged(AWS, {
      serviceAccount: {
        roleArn: 'arn:aws:iam::123456789012:role/broker',
        annotations: { 'eks.amazonaws.com/role-arn': 'arn:aws:iam::123456789012:role/other' },
      },
    }),
  ],
  ['podLabels', merged(AWS, { podLabels: { 'app.kubernetes.io/name': 'broker' } })],
  ['tls.clientCaKey', merged(AWS, { tls: { clientCaKey: 'ca.crt' } })],
  ['service.type', merged(AWS, { service: { type: 'LoadBalancer' } })],
  ['ingress.host', merged(AWS, { ingress: { ...INGRESS, host: '' } })],
  ['ingress.tls.secretName', merged(AWS, { ingress: { ...INGRESS, tls: {} } })],
  [
    'ingress.tls.byController',
    merged(AWS, { ingress: { ...INGRESS, tls: { secretName: 'tls', byController: true } } }),
  ],
  [
    'settings.BROKER_PUBLIC_URL',
    merged(AWS, {
      ingress: INGRESS,
      settings: { BROKER_PUBLIC_URL: 'https://other.example.test' },
    }),
  ],
  [
    'settings.BROKER_PUBLIC_URL',
    merged(AWS, {
      ingress: INGRESS,
      settings: { BROKER_PUBLIC_URL: 'https://broker.example.test/tokens' },
    }),
  ],
  ['networkPolicy.peers', merged(AWS, { ingress: INGRESS, networkPolicy: { peers: [] } })],
  [
    'networkPolicy.monitoring',
    merged(AWS, { serviceMonitor: { enabled: true }, networkPolicy: { monitoring: [] } }),
  ],
  ['fullnameOverride', merged(AWS, { fullnameOverride: '1broker' })],
  [
    'settings.BROKER_MIN_REMAINING_SECONDS',
    merged(AWS, { settings: { BROKER_MIN_REMAINING_SECONDS: 0 } }),
  ],
  [
    'provider.certificateSecretName',
    merged(AWS, { settings: { BROKER_CLIENT_AUTHENTICATION: 'mtls' } }),
  ],
  [
    'settings.BROKER_PUBLIC_URL',
    merged(AWS, {
      ingress: INGRESS,
      settings: {
        BROKER_PUBLIC_URL: 'http://broker.example.test',
        BROKER_ALLOW_INSECURE_HTTP: true,
      },
    }),
  ],
  [
    'clusterKeys.enabled',
    merged(FILE, {
      file: { sections: { trusted_issuers: { cluster: { ...CLUSTER, token_file: API_TOKEN } } } },
    }),
  ],
  [
    'file.sections.peers.orders',
    merged(FILE, {
      file: { sections: { peers: { orders: { identities: [{ issuer: 'clutser' }] } } } },
    }),
  ],
  [
    'file.sections.peers.orders',
    merged(FILE, { file: { sections: { peers: { orders: { tokens: ['ledger'] } } } } }),
  ],
  [
    'networkPolicy.extraEgress',
    merged(FILE, {
      file: { sections: { trusted_issuers: { cluster: { jwks_uri: 'https://10.0.0.1:6443/k' } } } },
    }),
  ],
  [
    'networkPolicy.extraEgress',
    merged(AWS, {
      file: { sections: { providers: { local: { issuer: 'https://keycloak:8443/' } } } },
    }),
  ],
  ['extraEnv', merged(AWS, { extraEnv: [{ name: 'AWS_SECRET_ACCESS_KEY', value: 'c2VjcmV0' }] })],
  ['extraEnv', merged(AWS, { extraEnv: [{ name: 'HTTPS_PROXY', value: 'http://proxy:3128' }] })],
  [
    'secretSettings.AWS_ACCESS_KEY_ID',
    merged(AWS, { secretSettings: { AWS_ACCESS_KEY_ID: { name: 'aws', key: 'id' } } }),
  ],
  [
    'secretSettings.AWS_ACCESS_KEY_ID',
    merged(AWS, {
      serviceAccount: { roleArn: 'arn:aws:iam::123456789012:role/broker' },
      secretSettings: {
        AWS_ACCESS_KEY_ID: { name: 'aws', key: 'id' },
        AWS_SECRET_ACCESS_KEY: { name: 'aws', key: 'secret' },
      },
    }),
  ],
  [
    'extraVolumeMounts',
    merged(AWS, { extraVolumeMounts: [{ name: 'extra', mountPath: '/extra' }] }),
  ],
  [
    'extraVolumeMounts',
    merged(AWS, {
      tls: { secretName: 'tls' },
      extraVolumes: [{ name: 'extra', emptyDir: {} }],
      extraVolumeMounts: [{ name: 'extra', mountPath: '/etc/service-token-broker/tls' }],
    }),
  ],
  [
    'extraVolumes',
    merged(AWS, { tls: { secretName: 'tls' }, extraVolumes: [{ name: 'tls', emptyDir: {} }] }),
  ],
  ['resources.requests.memory', merged(AWS, { resources: { requests: { memory: '512Mi' } } })],
  ['resources.requests.cpu', merged(AWS, { resources: { requests: { cpu: 1.5 } } })],
  ['prometheusRule.runbookUrl', merged(AWS, { prometheusRule: { runbookUrl: 'docs/runbook.md' } })],
  ['podSecurityContext.runAsUser', merged(AWS, { podSecurityContext: { runAsUser: 0 } })],
  // By the schema, which helm asks first.
  ['settings.BROKER_PROFILE', merged(AWS, { settings: { BROKER_PROFILE: 'Auth0' } })],
  ['settings.PORT', merged(AWS, { settings: { PORT: 8080 } })],
  ['replicaCount', merged(AWS, { replicaCount: 3 })],
  ['networkPolicy.monitoring.0', merged(AWS, { networkPolicy: { monitoring: [{}] } })],
  [
    'networkPolicy.peers.0.namespaceselector',
    merged(AWS, { networkPolicy: { peers: [{ namespaceselector: {} }] } }),
  ],
  [
    'networkPolicy.extraEgress.0.port',
    merged(AWS, { networkPolicy: { extraEgress: [{ port: 3128 }] } }),
  ],
];
