// Gives jest the instrumented code of the files that are mutated, and the others as they are.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import swc from '@swc/jest';

const { code } = JSON.parse(readFileSync(process.env['MUTATION_CODE'], 'utf8'));
const transformer = swc.createTransformer();

export default {
  canInstrument: false,
  process: (source, path, options) => transformer.process(code[path] ?? source, path, options),
  getCacheKey: (source, path, options) =>
    createHash('sha256')
      .update(transformer.getCacheKey(source, path, options))
      .update(code[path] ?? '')
      .digest('hex'),
};
