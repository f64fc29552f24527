import { describe, expect, test } from '@jest/globals';
import { installLine } from '../../src/cli/start-errors.js';

describe('the command that installs what is missing', () => {
  test('names the range of each package, quoted for every shell', () => {
    const ranges = { '@nestjs/core': '^12.0.0', zod: '4.1.0', yaml: '>=2 <3' };
    expect(installLine(['@nestjs/core', 'zod', 'yaml'], ranges)).toBe(
      'npm install "@nestjs/core@^12.0.0" zod@4.1.0 "yaml@>=2 <3"',
    );
  });

  test('asks for any version where there is no range', () => {
    expect(installLine(['pino'], {})).toBe('npm install pino');
  });
});
