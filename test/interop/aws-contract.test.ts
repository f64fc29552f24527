import { createAwsStore } from '../../src/secrets/aws/aws-store.js';
import { createFallbackStore } from '../../src/secrets/aws/fallback-store.js';
import { describeSecretStoreContract } from '../contract/secret-store.contract.js';

describeSecretStoreContract('AWS Secrets Manager, played by moto', {
  open: () => Promise.resolve(createAwsStore()),
  deviations: ['pending-value-replaceable', 'rotates-without-function'],
});

describeSecretStoreContract('AWS Secrets Manager with a fallback Region, played by moto', {
  open: () => {
    const region = 'us-east-1';
    const elsewhere = { region, store: createAwsStore({ region }) };
    return Promise.resolve(createFallbackStore(createAwsStore(), [elsewhere]));
  },
  deviations: ['pending-value-replaceable', 'rotates-without-function'],
});
