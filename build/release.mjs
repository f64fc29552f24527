// Makes a release: `npm run release -- 0.2.0`; with --dry-run it only says what it would do. The changelog's part, the
// version wherever it stands, both packages, their bill of materials, a commit and a tag. Nothing leaves this machine. If a
// step fails, the tree, the branch and the tags are as they were.
//   --date=YYYY-MM-DD   the day of the release; default: today (UTC)
//   --notes=0.2.0       prints what the changelog says of a version, and does nothing else
import { execFileSync } from 'node:child_process';
import { lstatSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  decideVersion,
  notesOf,
  releaseChangelog,
  ReleaseRefused,
  setVersion,
} from './release-plan.mjs';

const BRANCH = 'main';
/** What may carry the version. */
const CARRIERS = [
  'package.json',
  'package-lock.json',
  'compose.yaml',
  '*.md',
  'deploy/**',
  'docs/**',
  'examples/**',
];

/** The repository that it is run in. */
const root = execFileSync('git', ['rev-parse', '--show-toplevel'], { encoding: 'utf8' }).trim();

function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      'dry-run': { type: 'boolean', default: false },
      date: { type: 'string', default: new Date().toISOString().slice(0, 10) },
      notes: { type: 'string' },
    },
  });
  if (values.notes !== undefined) {
    say(notesOf(read('CHANGELOG.md'), values.notes.replace(/^v/, '')));
    return;
  }
  if (positionals.length > 1)
    throw new ReleaseRefused(`one version, not ${positionals.join(', ')}`);
  release(positionals[0], values.date, values['dry-run']);
}

function release(wanted, date, isDry) {
  const before = JSON.parse(read('package.json')).version;
  const version = decideVersion(before, wanted);
  const tag = `v${version}`;
  const start = checkRepository(tag);
  const { text: changelog, entries } = releaseChangelog(read('CHANGELOG.md'), version, date);
  const changes = changesTo(before, version);
  changes.set('CHANGELOG.md', changelog);

  say(
    `Release ${version}, after ${before}${isDry ? ': nothing is done, this is what would be' : ''}`,
  );
  const steps = [
    { words: `CHANGELOG.md: ${entries} entries become [${version}] - ${date}` },
    {
      words: `write the version into ${[...changes.keys()].join(', ')}`,
      act: () => write(changes),
    },
    { words: 'npm run pack:all', act: () => run('npm', ['run', '--silent', 'pack:all']) },
    {
      words: `git commit: Release ${version}`,
      act: () => {
        git('add', '--', ...changes.keys());
        git('commit', '--quiet', '--message', `Release ${version}`);
      },
    },
    {
      words: `git tag ${tag}`,
      act: () => git('tag', '--annotate', '--message', `Release ${version}`, tag),
    },
  ];
  const originals = new Map([...changes.keys()].map((file) => [file, read(file)]));
  try {
    // An interrupt ends the step that runs, and with it the release, in the same way as any failure.
    process.on('SIGINT', () => {});
    for (const { words, act } of steps) {
      say(`  ${words}`);
      if (!isDry) act?.();
    }
  } catch (error) {
    write(originals);
    git('reset', '--quiet', start);
    throw new Error('The release is not made, and the tree is as it was.', { cause: error });
  }
  say(`
${isDry ? 'Then it would be' : 'It is'} yours to look at (git show ${tag}) and to push:
  git push --atomic origin ${BRANCH} ${tag}
The workflow "release" publishes what a tag on ${BRANCH} names, and nobody else does.`);
}

/** @returns the commit that the release starts from. */
function checkRepository(tag) {
  const branch = git('branch', '--show-current');
  if (branch !== BRANCH) {
    throw new ReleaseRefused(
      `releases are made on ${BRANCH}, and this is ${branch || 'no branch'}`,
    );
  }
  // Untracked files count, even where git is told to hide them: they would be packed.
  const changed = git('status', '--porcelain', '--untracked-files=all');
  if (changed !== '') {
    throw new ReleaseRefused(`the tree is not clean: commit or stash first\n${changed}`);
  }
  if (git('tag', '--list', tag) !== '') throw new ReleaseRefused(`there is a tag ${tag} already`);
  return git('rev-parse', 'HEAD');
}

/** The new text of every file that carries the version, by its path. */
function changesTo(before, version) {
  const changes = new Map();
  const files = git('ls-files', '-z', '--', ...CARRIERS.map((glob) => `:(glob)${glob}`));
  for (const file of files.split('\0').filter((name) => name !== '')) {
    // It may lead out of the repository; what it leads to within stands in the list itself.
    if (lstatSync(join(root, file)).isSymbolicLink()) continue;
    const text = read(file);
    const changed = setVersion(file, text, before, version);
    if (changed !== text) changes.set(file, changed);
  }
  return changes;
}

function git(...args) {
  return execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
}

/** A step's own words are shown as they come. */
function run(program, args) {
  const shell = process.platform === 'win32' && program === 'npm';
  execFileSync(program, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], shell });
}

function read(file) {
  return readFileSync(join(root, file), 'utf8');
}

function write(files) {
  for (const [file, text] of files) writeFileSync(join(root, file), text);
}

function say(text) {
  process.stdout.write(`${text}\n`);
}

try {
  main();
} catch (error) {
  const { cause } = error;
  const isExpected = error instanceof ReleaseRefused || error.code?.startsWith('ERR_PARSE_ARGS');
  if (!isExpected && cause === undefined) throw error;
  process.stderr.write(
    `${isExpected ? `No release: ${error.message}` : `${error.message}\n${cause.message}`}\n`,
  );
  process.exitCode = 1;
}
