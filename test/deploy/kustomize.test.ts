import { describe, expect, test } from '@jest/globals';
import { readdir, readFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { parse, parseAllDocuments } from 'yaml';
import { checkSettings } from '../../src/config/check-settings.js';
import { ROOT } from './support/packaging.js';

const BASE = join(ROOT, 'deploy/kubernetes');
const KUSTOMIZE = join(ROOT, 'deploy/kustomize');
const OVERLAYS = ['aws', 'embedded'];

interface Kustomization {
  readonly kind: string;
  readonly resources?: readonly string[];
  readonly components?: readonly string[];
  readonly patches?: readonly { readonly path?: string; readonly patch?: string }[];
}
type Settings = Readonly<Record<string, string | null>>;

async function read(folder: string): Promise<Kustomization> {
  return parse(await readFile(join(folder, 'kustomization.yaml'), 'utf8')) as Kustomization;
}

/** Every file of a folder's kustomization, those of the folders that it names included. */
async function filesOf(folder: string): Promise<readonly string[]> {
  const { resources = [], components = [], patches = [] } = await read(folder);
  const named = [...resources, ...components, ...patches.flatMap(({ path }) => path ?? [])];
  const files = await Promise.all(
    named.map(async (name) => {
      const path = join(folder, name);
      return name.endsWith('.yaml') ? [path] : filesOf(path);
    }),
  );
  return [join(folder, 'kustomization.yaml'), ...files.flat()];
}

async function settingsIn(file: string): Promise<Settings> {
  const documents = parseAllDocuments(await readFile(file, 'utf8'));
  const maps = documents
    .map((document) => document.toJS() as { readonly kind?: string; readonly data?: Settings })
    .filter(({ kind }) => kind === 'ConfigMap');
  return Object.assign({}, ...maps.map(({ data }) => data)) as Settings;
}

describe('kustomize', () => {
  test('finds every file, and every file is used', async () => {
    const used = await Promise.all(
      [BASE, ...OVERLAYS.map((name) => join(KUSTOMIZE, 'overlays', name))].map(filesOf),
    );
    const there = await Promise.all(
      [BASE, KUSTOMIZE].map(async (folder) =>
        (await readdir(folder, { recursive: true, withFileTypes: true }))
          .filter((entry) => entry.isFile())
          .map((entry) => join(entry.parentPath, entry.name)),
      ),
    );
    const names = (files: readonly string[]): readonly string[] =>
      [...new Set(files)].map((file) => relative(ROOT, file)).toSorted();
    expect(names(used.flat())).toEqual(names(there.flat()));
  });

  test('components are components, the rest are not', async () => {
    const folders = await readdir(join(KUSTOMIZE, 'components'));
    expect(folders.toSorted()).toEqual(['autoscaling', 'embedded-store', 'ingress']);
    for (const name of folders) {
      expect(await read(join(KUSTOMIZE, 'components', name))).toMatchObject({ kind: 'Component' });
    }
    for (const name of OVERLAYS) {
      expect(await read(join(KUSTOMIZE, 'overlays', name))).toMatchObject({
        kind: 'Kustomization',
        resources: [relative(join(KUSTOMIZE, 'overlays', name), BASE)],
      });
    }
  });

  test.each([
    ['aws', 'aws'],
    ['embedded', 'embedded'],
  ])('the settings of the overlay %s are the broker’s', async (name, store) => {
    const files = await filesOf(join(KUSTOMIZE, 'overlays', name));
    // The overlay's own patches come last.
    const own = join(KUSTOMIZE, 'overlays', name);
    const ordered = [
      ...files.filter((file) => dirname(file) !== own),
      ...files.filter((file) => dirname(file) === own),
    ];
    const settings: Record<string, string | null> = {};
    for (const file of ordered) Object.assign(settings, await settingsIn(file));
    const env = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== null));
    for (const value of Object.values(env)) {
      expect(value).not.toMatch(/STAGE|REGION|ACCOUNT|BROKER_HOST|^(?:ISSUER|AUDIENCE|PROFILE)$/);
    }
    const config = checkSettings({ env: env as NodeJS.ProcessEnv });
    expect(config.warnings).toEqual([]);
    expect(config.secrets.store).toBe(store);
    expect(config.http.management).toEqual(
      expect.objectContaining({ port: 8081, host: '0.0.0.0' }),
    );
  });
});
