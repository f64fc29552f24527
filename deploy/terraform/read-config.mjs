// Reads the broker's configuration file for main.tf, by the rules of `serverless.yml`: the query that Terraform's external
// provider writes to stdin has the values of the variables, and the answer what the module makes of the file.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

const { readDeployment, readSchedules } = createRequire(import.meta.url)('../tokens.cjs');

const { stage, functionsFolder, ...given } = JSON.parse(await text(process.stdin));
const deployment = await readDeployment(given, stage, join(functionsFolder, 'deployment.mjs'));
const { schedules, mistakes } = readSchedules(given, deployment);
// The names of the variables here, instead of those of serverless.yml.
const found = [...deployment.mistakes, ...mistakes].map((line) =>
  line
    .replaceAll('tokenLifetime names', 'token_lifetimes names')
    .replaceAll('tokenLifetime', 'token_lifetime'),
);
if (found.length > 0) {
  process.stderr.write(
    `config = ${given.config} cannot be right:\n${found.map((line) => `    - ${line}\n`).join('')}`,
  );
  process.exitCode = 1;
} else {
  const { json, providers, iamPeers } = deployment;
  const tokens = deployment.tokens.map(({ name, secret }) => {
    const { expression, missingSeconds, expiringSeconds } = schedules.get(name);
    return { name, secret, expression, missingSeconds, expiringSeconds };
  });
  process.stdout.write(
    JSON.stringify({ deployment: JSON.stringify({ json, tokens, providers, iamPeers }) }),
  );
}
