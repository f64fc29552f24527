// Makes the documentation's site from the Markdown of the repository: `npm run site`, into dist-site or the folder that is
// given. It needs no server: open index.html. A dead link ends it, and nothing is written.
import './node-version.mjs';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, normalize, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { layout } from './site/layout.mjs';
import { arrange } from './site/navigation.mjs';
import { readPage, renderPage, sectionsOf } from './site/pages.mjs';

const root = fileURLToPath(new URL('../', import.meta.url));
const parts = join(root, 'build/site');
/** Folders whose Markdown belongs to the site, with what is below them; of the root, its own Markdown. */
const FOLDERS = ['docs', 'deploy', 'examples', 'bench'];
/** What the search looks through: a folder that has it is a site of ours. */
const MARK = 'assets/sections.js';
/** Short names for the navigation, where a title is a sentence. */
const LABELS = {
  'README.md': 'Overview',
  'docs/client.md': 'The client',
  'docs/guard.md': 'The guard',
  'docs/README.md': 'All pages',
  'docs/terraform.md': 'Terraform',
  'deploy/terraform/README.md': 'Terraform: the module',
  'docs/embedded-store.md': 'The embedded store',
  'docs/helm.md': 'Kubernetes: Helm, kustomize',
  'docs/identities/README.md': 'Identities of peers',
  'docs/migrating.md': 'Migrating',
  'docs/running.md': 'Running',
  'docs/runbook.md': 'Runbook',
  'docs/operating.md': 'Operating',
  'docs/other-languages.md': 'Other languages',
  'docs/packages/service-token-broker.md': 'Package of the broker',
  'docs/packages/service-token-kit.md': 'Package of the kit',
  'bench/README.md': 'Measuring',
  'examples/go/README.md': 'Example: two programs in Go',
  'examples/guard/README.md': 'Example: a guarded service',
  'examples/mesh/README.md': 'Example: two services and a job',
};

/** Makes the whole site. @returns each file's content by its path, and the faults of the pages. */
async function makeSite() {
  const files = [
    ...readdirSync(root).filter((name) => name.endsWith('.md')),
    ...FOLDERS.flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true })
        .map((name) => `${folder}/${name.replaceAll('\\', '/')}`)
        .filter((name) => name.endsWith('.md') && !name.includes('node_modules/')),
    ),
  ];
  const linked = files.filter((file) => !isOwn(file));
  if (linked.length > 0) {
    return { faults: linked.map((file) => `${file}: a symbolic link, which may lead anywhere`) };
  }
  const groups = arrange(files);
  const pages = new Map(files.map((file) => [file, readPage(file, read(file))]));
  for (const [file, page] of pages) page.label = LABELS[file] ?? page.title;
  const { name, version, homepage } = JSON.parse(read('package.json'));
  const draw = files.some((file) => read(file).includes('```mermaid'))
    ? await loadMermaid()
    : undefined;
  const site = { groups, pages, name, version, source: homepage, exists, read, draw };

  const faults = [];
  const made = new Map();
  for (const page of pages.values()) {
    const { html, images, faults: found } = renderPage(page, site);
    for (const image of images) made.set(`images/${image}`, readFileSync(join(root, image)));
    faults.push(...found.map((fault) => `${page.file}: ${fault}`));
    made.set(page.path, layout(page, html, site));
  }
  if (faults.length > 0) return { faults };
  const sections = [...pages.values()].flatMap(sectionsOf);
  // As JavaScript, "</" and the line separators are as harmless as they are in JSON.
  made.set(MARK, `globalThis.siteSections = ${JSON.stringify(sections)};\n`);
  made.set('assets/site.js', await bundleScript());
  for (const asset of ['site.css', 'icon.svg']) {
    made.set(`assets/${asset}`, readFileSync(join(parts, asset), 'utf8'));
  }
  return { made, faults, pages: pages.size };
}

/** Half of the time goes into loading it. */
async function loadMermaid() {
  const { renderMermaidSVG } = await import('beautiful-mermaid');
  return (text) => renderMermaidSVG(text, { padding: 16, nodeSpacing: 24, layerSpacing: 32 });
}

async function bundleScript() {
  const { build } = await import('esbuild');
  const { outputFiles } = await build({
    entryPoints: [join(parts, 'browser.mjs')],
    bundle: true,
    minify: true,
    format: 'iife',
    target: 'es2022',
    legalComments: 'inline',
    write: false,
    logLevel: 'warning',
  });
  return outputFiles[0].text;
}

/** Whether a file is where its path says. A symbolic link could bring in any file of the machine, and publish it. */
function isOwn(path) {
  return realpathSync(join(root, path)) === join(realpathSync(root), normalize(path));
}

function exists(path) {
  const file = join(root, path);
  if (!existsSync(file) || !isOwn(path)) return undefined;
  return statSync(file).isDirectory() ? 'folder' : 'file';
}

function read(file) {
  return readFileSync(join(root, file), 'utf8');
}

const out = resolve(root, process.argv[2] ?? 'dist-site');
if (existsSync(out) && readdirSync(out).length > 0 && !existsSync(join(out, MARK))) {
  process.stderr.write(
    `${out} has something else in it: name an empty folder, or a site made before.\n`,
  );
  process.exit(1);
}
const { made, faults, pages } = await makeSite();
if (faults.length > 0) {
  process.stderr.write(`The site is not made:\n${faults.map((fault) => `  ${fault}\n`).join('')}`);
  process.exit(1);
}
rmSync(out, { recursive: true, force: true });
for (const [path, content] of made) {
  const file = join(out, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}
process.stdout.write(`Made ${pages} pages: open ${join(out, 'index.html')}\n`);
