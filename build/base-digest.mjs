// Prints the digest of the image that the Dockerfile begins with, as the registry has it now: `node build/base-digest.mjs`.
// It asks the registry itself, so it needs no Docker. The digest is the index's, which stands for all architectures.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { root } from './compile.mjs';

/** What the image is built for. */
const PLATFORMS = ['linux/amd64', 'linux/arm64'];
const INDEXES = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
];
/** Milliseconds for one answer of the registry. */
const PATIENCE = 30_000;
/** Bytes of one answer. An index has a few thousand. */
const MOST_BYTES = 4 * 1024 * 1024;

/** The repository and tag of the Dockerfile's base, which all its stages have: `['library/node', '24-slim']`. */
export function baseImage(dockerfile) {
  const bases = dockerfile.matchAll(/^FROM (?:--\S+ )?([\w./-]+):([\w.-]+)@\$\{NODE_DIGEST\}/gm);
  const [first, ...others] = [...bases].map(([, name, tag]) => `${name}:${tag}`);
  if (first === undefined || others.some((other) => other !== first)) {
    throw new Error('The stages of the Dockerfile do not all begin with one image.');
  }
  const [name, tag] = first.split(':');
  return [name.includes('/') ? name : `library/${name}`, tag];
}

/**
 * The digest of an index, from its bytes, if it is one, and has every platform that the image is built for.
 *
 * @param body the answer's bytes.
 * @param claimed the digest in the answer's header, if it has one.
 */
export function digestOf(body, claimed) {
  const digest = `sha256:${createHash('sha256').update(body).digest('hex')}`;
  if (claimed && claimed !== digest) {
    throw new Error(`The registry names ${shown(claimed)}, and what it answered is ${digest}.`);
  }
  const { mediaType, manifests } = objectOf(body);
  if (!INDEXES.includes(mediaType) || !Array.isArray(manifests)) {
    throw new Error(`The registry answered ${shown(mediaType)}, which is not an index of images.`);
  }
  const found = new Set(
    manifests.map((one) => `${one?.platform?.os}/${one?.platform?.architecture}`),
  );
  const missing = PLATFORMS.filter((platform) => !found.has(platform));
  if (missing.length > 0) throw new Error(`The image is not there for ${missing.join(' and ')}.`);
  return digest;
}

/** Asks a registry by the protocol of OCI's distribution specification, as somebody without an account. */
export async function fetchDigest(registry, [name, tag]) {
  const url = `${registry}/v2/${name}/manifests/${tag}`;
  const ask = (authorization) =>
    fetch(url, {
      headers: { accept: INDEXES.join(', '), ...(authorization && { authorization }) },
      signal: AbortSignal.timeout(PATIENCE),
    });
  let answer = await ask();
  if (answer.status === 401) {
    answer = await ask(await anonymously(registry, answer.headers.get('www-authenticate') ?? ''));
  }
  if (!answer.ok) throw new Error(`${url} answered ${answer.status}.`);
  return digestOf(await bytesOf(answer), answer.headers.get('docker-content-digest'));
}

/** The token for whoever has no account, from where the registry's challenge says. */
async function anonymously(registry, challenge) {
  const { realm, ...parameters } = Object.fromEntries(
    [...challenge.matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]),
  );
  if (!/^Bearer /i.test(challenge) || realm === undefined) {
    throw new Error('The registry asks for credentials of a kind that this script does not have.');
  }
  // It may be another host, as at Docker Hub. By http it could be a service of this machine's network, which answers nobody else.
  const url = URL.canParse(realm) ? new URL(realm) : undefined;
  const isAsSafe = url?.protocol === 'https:' || url?.origin === new URL(registry).origin;
  if (url === undefined || !isAsSafe || url.username !== '' || url.password !== '') {
    throw new Error(`The registry sends for a token to ${shown(realm)}, which is not https.`);
  }
  for (const [name, value] of Object.entries(parameters)) url.searchParams.append(name, value);
  const answer = await fetch(url, { redirect: 'error', signal: AbortSignal.timeout(PATIENCE) });
  const { token, access_token: other } = objectOf(await bytesOf(answer));
  const given = token ?? other;
  if (!answer.ok || typeof given !== 'string' || !/^[\w.~+/=-]+$/.test(given)) {
    throw new Error(`${url.origin} gave no token (${answer.status}).`);
  }
  return `Bearer ${given}`;
}

/** The bytes of an answer, if they are not too many. */
async function bytesOf(answer) {
  const parts = [];
  let length = 0;
  for await (const part of answer.body ?? []) {
    length += part.length;
    if (length > MOST_BYTES)
      throw new Error(`The registry answered more than ${MOST_BYTES} bytes.`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function objectOf(body) {
  try {
    const value = JSON.parse(Buffer.from(body).toString());
    if (typeof value === 'object' && value !== null) return value;
  } catch {
    // Said below.
  }
  throw new Error('The registry answered what is no JSON object.');
}

/** What others wrote, on one line and short: lines that begin with `::` are commands to the log of a workflow. */
function shown(text) {
  return JSON.stringify(text ?? null).slice(0, 200);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dockerfile = readFileSync(join(root, 'deploy/container/Dockerfile'), 'utf8');
  const registry = process.argv[2] ?? 'https://registry-1.docker.io';
  try {
    process.stdout.write(`${await fetchDigest(registry, baseImage(dockerfile))}\n`);
  } catch (error) {
    const why = error.cause?.code ?? error.cause?.message;
    process.stderr.write(`No digest from ${registry}: ${error.message}${why ? ` (${why})` : ''}\n`);
    process.exitCode = 1;
  }
}
