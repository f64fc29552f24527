// What a release changes, decided from texts alone: no files, no git, no clock.
import semver from 'semver';

const UNRELEASED = '## [Unreleased]';
const CARRIERS_OF_NAMES = /\.(?:md|ya?ml|tf|tfvars|hcl|json)$/;

/** Why there can be no release, in words for whoever asked for it. */
export class ReleaseRefused extends Error {}

/**
 * The version to release.
 *
 * @param current the version in package.json.
 * @param wanted what somebody asked for: `0.2.0`, or `0.2.0-rc.1`.
 * @throws ReleaseRefused if it is not a version of Semantic Versioning, written in full, or not later than the current one.
 */
export function decideVersion(current, wanted) {
  if (wanted === undefined) throw new ReleaseRefused('name the version: npm run release -- 0.2.0');
  if (semver.valid(wanted) !== wanted) {
    throw new ReleaseRefused(`"${wanted}" is not a version, such as 0.2.0 or 0.2.0-rc.1`);
  }
  if (!semver.gt(wanted, current)) {
    throw new ReleaseRefused(`${wanted} is not later than ${current}, which package.json has`);
  }
  return wanted;
}

/**
 * The changelog with what was unreleased under the version.
 *
 * @param date the day of the release, `YYYY-MM-DD`.
 * @returns the new `text`, and how many `entries` are released.
 * @throws ReleaseRefused without a part for what is unreleased, without an entry in it, or if the version is there already.
 */
export function releaseChangelog(text, version, date) {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(date) || Number.isNaN(Date.parse(date))) {
    throw new ReleaseRefused(`"${date}" is not a date, such as 2026-01-31`);
  }
  if (text.includes(`\n## [${version}]`)) {
    throw new ReleaseRefused(`CHANGELOG.md has a part for ${version} already`);
  }
  const part = partOf(text, 'Unreleased');
  if (part === undefined) throw new ReleaseRefused(`CHANGELOG.md has no part "${UNRELEASED}"`);
  const entries = part.match(/^[-*] /gm)?.length ?? 0;
  if (entries === 0) {
    throw new ReleaseRefused(`CHANGELOG.md has nothing under "${UNRELEASED}": what is released?`);
  }
  // The heading, and not words that name it in a sentence.
  const heading = text.startsWith(UNRELEASED) ? 0 : text.indexOf(`\n${UNRELEASED}`) + 1;
  const end = heading + UNRELEASED.length;
  return {
    text: `${text.slice(0, end)}\n\n## [${version}] - ${date}${text.slice(end)}`,
    entries,
  };
}

/**
 * What the changelog says of a version, for the page of a release.
 *
 * @throws ReleaseRefused if it says nothing.
 */
export function notesOf(text, version) {
  const part = partOf(text, version);
  if (part === undefined) throw new ReleaseRefused(`CHANGELOG.md has no part for ${version}`);
  return part;
}

/** A part of the changelog without its heading, or nothing. */
function partOf(text, name) {
  const lines = text.split('\n');
  const start = lines.findIndex((line) => line.startsWith(`## [${name}]`));
  if (start < 0) return undefined;
  const length = lines.slice(start + 1).findIndex((line) => line.startsWith('## '));
  const end = length < 0 ? lines.length : start + 1 + length;
  return lines
    .slice(start + 1, end)
    .join('\n')
    .trim();
}

/**
 * A file of the repository with the version in the place of the one before.
 *
 * @param file its path: the manifest and the lockfile have a version of their own, a Helm chart has two, and pages and
 *   deployments name packages and images by it (`service-token-kit-0.1.0.tgz`, `service-token-broker:0.1.0`).
 * @returns the new text; the same text where the file carries no version.
 * @throws ReleaseRefused if a file that has a version of its own has another than `before`.
 */
export function setVersion(file, text, before, version) {
  if (file === 'CHANGELOG.md') return text;
  if (file === 'package.json' || file === 'package-lock.json') {
    const content = JSON.parse(text);
    const places = [content, ...(content.packages ? [content.packages['']] : [])];
    for (const place of places) {
      refuseOther(file, place.version, before);
      place.version = version;
    }
    return `${JSON.stringify(content, null, 2)}\n`;
  }
  if (/(?:^|\/)Chart\.yaml$/.test(file)) {
    const own = /^(version|appVersion):( *)(["']?)([^"'\s#]+)\3/gm;
    return text.replaceAll(own, (_line, key, space, quote, found) => {
      refuseOther(file, found, before);
      return `${key}:${space}${quote}${version}${quote}`;
    });
  }
  if (!CARRIERS_OF_NAMES.test(file)) return text;
  const number = before.replaceAll(/[.+]/g, '\\$&');
  const named = new RegExp(
    `(service-token-(?:broker|kit)(?:[-:@]v?|, tag: ["']?))${number}(?![\\w-]|\\.\\d)`,
    'g',
  );
  return text.replaceAll(named, (_found, name) => name + version);
}

function refuseOther(file, found, before) {
  if (found === before) return;
  throw new ReleaseRefused(`${file} has the version ${found}, package.json has ${before}`);
}
