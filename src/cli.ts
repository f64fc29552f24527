#!/usr/bin/env node
// Loads no package at first, so that a missing one is explained and not just thrown.
import { readFileSync } from 'node:fs';
import { installLine, tooManyOpenFiles } from './cli/start-errors.js';

const PACKAGES = [
  '@nestjs/common',
  '@nestjs/core',
  '@nestjs/platform-fastify',
  '@nestjs/schedule',
  '@nestjs/terminus',
  'commander',
  'croner',
  'fastify',
  'libsql',
  'oauth4webapi',
  'oidc-provider',
  'pino',
  'prom-client',
  'reflect-metadata',
  'rxjs',
  'yaml',
  'zod',
  '@aws-sdk/client-secrets-manager',
];

try {
  const { runProgram } = await import('./cli/program.js');
  process.exitCode = await runProgram(process.argv);
} catch (error) {
  const tooMany = tooManyOpenFiles(error);
  const missing = missingPackage(error);
  if (tooMany === undefined && missing === undefined) throw error;
  process.stderr.write(
    tooMany !== undefined
      ? `${tooMany}\n(TOO_MANY_OPEN_FILES)\n`
      : `service-token-broker: the package "${missing}" is not installed. The guard and the client need none of these; the broker itself does:\n` +
          `  ${installLine(PACKAGES, peerDependencies())}\n`,
  );
  process.exitCode = 1;
}

function peerDependencies(): Readonly<Record<string, string>> {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { peerDependencies: Record<string, string> }).peerDependencies;
}

function missingPackage(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined;
  if (error.code !== 'ERR_MODULE_NOT_FOUND') return undefined;
  return /Cannot find package '([^']+)'/.exec(error.message)?.[1];
}
