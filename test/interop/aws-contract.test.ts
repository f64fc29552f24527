import { createAwsStore } from '../../src/secrets/aws/aws-store.js';
import { describeSecretStoreContract } from '../contract/secret-store.contract.js';

describeSecretStoreContract('AWS Secrets Manager, played by moto', {
  open: () => Promise.resolve(createAwsStore()),
  deviations: ['pending-value-replaceable'],
});
