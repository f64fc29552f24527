// A replica of the broker, as far as claiming goes: does what its parent sends, and sends back what came of it.
import { createAwsStore } from '../../dist/secrets/aws/aws-store.js';

const store = createAwsStore();

process.on('message', ({ method, args }) => {
  store[method](...args).then(
    () => process.send({ outcome: 'won' }),
    (error) => process.send({ outcome: error.code ?? String(error) }),
  );
});
process.on('disconnect', () => {
  void store.close();
});
process.send({ outcome: 'ready' });
