import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, readdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, posix } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { runInNewContext } from 'node:vm';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { arrange } from '../../build/site/navigation.mjs';
import { createSearch } from '../../build/site/search.mjs';
import { temporaryFolders } from '../support/temporary-folder.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
const temporaryFolder = temporaryFolders('site');

interface SitePage {
  readonly file: string;
}
interface Pages {
  readonly pathOf: (file: string) => string;
  readonly linkBetween: (from: string, to: string) => string;
  readonly readPage: (file: string, text: string) => SitePage;
  readonly renderPage: (
    page: SitePage,
    site: object,
  ) => { readonly html: string; readonly faults: readonly string[] };
}
// Not by its name: it loads highlight.js, whose types would put those of browsers among ours.
const { pathOf, linkBetween, readPage, renderPage } = (await import(
  join(root, 'build/site/pages.mjs')
)) as Pages;
const run = promisify(execFile);

interface Section {
  readonly url: string;
  readonly page: string;
  readonly heading: string;
  readonly text: string;
}

let site = '';
/** The HTML of every page, by its path in the site. */
let pages: ReadonlyMap<string, string> = new Map();
let assets: ReadonlyMap<string, string> = new Map();
/** The paths of all files. */
let made: ReadonlySet<string> = new Set();

beforeAll(async () => {
  site = join(await temporaryFolder(), 'site');
  await run(process.execPath, ['build/site.mjs', site], { cwd: root });
  const files = (await readdir(site, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(site.length + 1));
  const texts = new Map<string, string>();
  for (const file of files) texts.set(file, await readFile(join(site, file), 'utf8'));
  made = new Set(files);
  pages = new Map([...texts].filter(([file]) => file.endsWith('.html')));
  assets = new Map([...texts].filter(([file]) => file.startsWith('assets/')));
});

/** The values of an attribute in a page, as the browser reads them. */
function valuesOf(html: string, attribute: string): readonly string[] {
  return [...html.matchAll(new RegExp(` ${attribute}="([^"]*)"`, 'g'))].map(([, value = '']) =>
    value.replaceAll('&amp;', '&').replaceAll('&quot;', '"'),
  );
}

describe('the site', () => {
  test('has a page for every page of docs, and for those of the root and the examples', async () => {
    const docs = (await readdir(join(root, 'docs'), { recursive: true })).filter((name) =>
      name.endsWith('.md'),
    );
    const sources = [
      ...docs.map((name) => `docs/${name}`),
      'README.md',
      'CHANGELOG.md',
      'CONTRIBUTING.md',
      'bench/README.md',
      'examples/go/README.md',
      'examples/guard/README.md',
      'examples/mesh/README.md',
    ];
    expect(sources.length).toBeGreaterThan(40);
    for (const file of sources) expect([...pages.keys()]).toContain(pathOf(file));
  });

  test('has no link or anchor that leads nowhere', () => {
    let checked = 0;
    const dead = [...pages].flatMap(([path, html]) =>
      [...valuesOf(html, 'href'), ...valuesOf(html, 'src'), ...valuesOf(html, 'data-sections')]
        .filter((href) => !/^(?:https?|mailto):/.test(href))
        .filter((href) => {
          checked += 1;
          const [file = '', anchor] = href.split('#');
          const target = file === '' ? path : posix.join(posix.dirname(path), file);
          if (anchor === undefined) return !made.has(target);
          return !valuesOf(pages.get(target) ?? '', 'id').includes(decodeURI(anchor));
        })
        .map((href) => `${path}: ${href}`),
    );
    expect(dead).toEqual([]);
    expect(checked).toBeGreaterThan(3_000);
  });

  test('has no id twice on a page', () => {
    for (const [path, html] of pages) {
      const ids = valuesOf(html, 'id');
      expect({ path, twice: ids.filter((id, at) => ids.indexOf(id) !== at) }).toEqual({
        path,
        twice: [],
      });
    }
  });

  test('asks no other host for anything, and has nothing that its policy would forbid', () => {
    for (const [path, html] of pages) {
      const policy = /<meta http-equiv="Content-Security-Policy" content="([^"]*)">/.exec(
        html,
      )?.[1];
      expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'");
      expect(policy).not.toMatch(/unsafe|https?:|\*/);
      const loaded = html.match(/<(?:script|link|img|iframe|object|embed|use)\b[^>]*>/g) ?? [];
      expect({ path, remote: loaded.filter((tag) => /=\s*"(?:\w+:)?\/\//.test(tag)) }).toEqual({
        path,
        remote: [],
      });
      const markup = html.match(/<[a-z][^>]*>/gi) ?? [];
      expect({
        path,
        forbidden: markup.filter((tag) => /<style|\sstyle=|\son\w+=|<script(?! src=")/i.test(tag)),
      }).toEqual({ path, forbidden: [] });
    }
    expect(assets.get('assets/site.css')).not.toMatch(/url\(|@import/);
    expect(assets.get('assets/site.js')).not.toMatch(
      /https?:\/\/|XMLHttpRequest|WebSocket|sendBeacon/,
    );
  });

  test('tells on each page where its source is, and what comes before and after', () => {
    const ends: string[] = [];
    for (const [path, html] of pages) {
      expect(html).toMatch(/<a href="[^"]*\/blob\/main\/[^"]+\.md" rel="noreferrer">Source/);
      if (!html.includes('rel="prev"')) ends.push(`first: ${path}`);
      if (!html.includes('rel="next"')) ends.push('last');
      expect(html.match(/aria-current="page"/g)).toHaveLength(1);
      expect(html.match(/<h1[ >]/g)).toHaveLength(1);
    }
    expect(ends.toSorted()).toEqual(['first: index.html', 'last']);
  });

  test('shows the pictures as drawings in its own colours', () => {
    const svg = /<figure class="picture"[^>]*>([\s\S]*?)<\/figure>/.exec(
      pages.get('docs/architecture.html') ?? '',
    )?.[1];
    expect(svg).toContain('verification');
    expect(svg).toContain('var(--_line)');
    expect([...pages.values()].join('')).not.toContain('flowchart TD');
  });

  test('is not made over a folder that has something else in it', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'letter.txt'), 'precious');
    await expect(
      run(process.execPath, ['build/site.mjs', folder], { cwd: root }),
    ).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining('something else in it') });
    expect(await readdir(folder)).toEqual(['letter.txt']);
  });
});

describe('the search', () => {
  let sections: readonly Section[] = [];
  let find: (
    query: string,
  ) => readonly (Omit<Section, 'text'> & { readonly excerpt: readonly string[] })[];

  beforeAll(() => {
    const scope: { siteSections?: readonly Section[] } = {};
    // As the browser runs it.
    runInNewContext(assets.get('assets/sections.js') ?? '', scope);
    sections = scope.siteSections ?? [];
    find = createSearch([...sections], 20);
  });

  test('finds every page by its title', () => {
    const lost = [...pages.keys()].filter((path) => {
      const title = sections.find(({ url }) => url === path)?.page ?? '';
      return !find(title).some(({ url }) => url.split('#')[0] === path);
    });
    expect(lost).toEqual([]);
  });

  test('finds words that stand only in the text of a page, on that page', () => {
    const lost: string[] = [];
    for (const path of pages.keys()) {
      const text = sections
        .filter(({ url }) => url.split('#')[0] === path)
        .map((section) => section.text)
        .join(' ');
      // Long words in a row are hardly anywhere else.
      const words =
        /\p{L}{6,} \p{L}{5,} \p{L}{4,}/u.exec(text)?.[0] ?? /(?:\p{L}+ ){5}/u.exec(text)?.[0] ?? '';
      expect(words).not.toBe('');
      if (!find(words).some(({ url }) => url.split('#')[0] === path))
        lost.push(`${path}: ${words}`);
    }
    expect(lost).toEqual([]);
  });

  test.each([
    ['BROKER_ISSUER', 'docs/configuration.html#all-settings'],
    ['rotation failed', 'docs/runbook.html#rotation-failed'],
    ['rotaton faild', 'docs/runbook.html#rotation-failed'],
    ['kubern', 'docs/identities/kubernetes.html'],
  ])('finds %s first in %s', (query, url) => {
    expect(find(query)[0]?.url).toBe(url);
  });

  test('finds nothing for nothing, and shows the words in their sentence', () => {
    expect([find(''), find('  '), find('-'), find('xyzzyx')]).toEqual([[], [], [], []]);
    const [first] = find('"Retry-After"');
    expect(first?.excerpt[1]).toMatch(/retry.after/i);
    expect(`${first?.excerpt.join('')}`.length).toBeLessThan(260);
  });
});

describe('a page', () => {
  const other = readPage('docs/other.md', '# Other\n\n## Part one\n\n## Part one\n');
  const plotOf = (inside: string): string =>
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 7 4" width="7">\n${inside}\n</svg>\n`;
  const plots: Readonly<Record<string, string>> = {
    'docs/plots/good.svg': plotOf(
      '<style>\ntext { fill: red }\n</style><path d="M0 1H2"/><text x="1">a &#60; b</text>',
    ),
    'docs/plots/script.svg': plotOf('<script>alert(1)</script>'),
    'docs/plots/handler.svg': plotOf('<path onload="alert(1)" d="M0 1"/>'),
    'docs/plots/link.svg': plotOf('<g href="javascript:alert(1)"><path d="M0 1"/></g>'),
    'docs/plots/import.svg': plotOf('<style>@import "https://e.example/a.css"</style>'),
    'docs/plots/other.svg': plotOf('<foreignObject><body/></foreignObject>'),
    'docs/plots/open.svg': plotOf('<path d="M0 1"'),
  };
  const render = (text: string): { html: string; faults: readonly string[] } => {
    const page = readPage('docs/page.md', text);
    return renderPage(page, {
      pages: new Map([page, other].map((one) => [one.file, one])),
      exists: (path: string) =>
        ({ 'src/main.ts': 'file', src: 'folder', 'docs/a.png': 'file', 'docs/b.svg': 'file' })[
          path
        ] ?? (path in plots ? 'file' : undefined),
      read: (path: string) => plots[path],
      source: 'https://git.example/p',
      draw: (text: string) => {
        if (text.includes('bad')) throw new Error('line 1');
        return '<svg width="10" style="--bg:#fff"><style>@import url(x)</style><g/></svg>';
      },
    });
  };

  test.each([
    ['[a](other.md)', 'href="other.html"'],
    ['[a](./other.md#part-one-1)', 'href="other.html#part-one-1"'],
    ['[a](#t)', 'href="#t"'],
    ['[a](../src/main.ts)', 'href="https://git.example/p/blob/main/src/main.ts" rel="noreferrer"'],
    ['[a](../src)', 'href="https://git.example/p/tree/main/src" rel="noreferrer"'],
    ['[a](https://e.example/?a=1&b=2)', 'href="https://e.example/?a=1&amp;b=2" rel="noreferrer"'],
    ['![a picture](a.png)', '<img src="../images/docs/a.png" alt="a picture">'],
    ['![a plot](plots/good.svg)', '<img src="../images/docs/plots/good.svg" alt="a plot">'],
    ['a<br>b <kbd>c</kbd>', 'a<br>b <kbd>c</kbd>'],
    ['a &amp; b &copy; c &d', 'a &amp; b &copy; c &amp;d'],
    ['<kbd>a <img/src=x/onerror=y()></kbd>', '<kbd>a &lt;img/src=x/onerror=y()&gt;</kbd>'],
    ['<kbd><meta/http-equiv=refresh></kbd>', '<kbd>&lt;meta/http-equiv=refresh&gt;</kbd>'],
    ['> ## quoted', '<h2>quoted</h2>'],
    ['`a < b`', '<code>a &lt; b</code>'],
    ['```text\n<b>\n```', '<pre tabindex="0"><code>&lt;b&gt;</code></pre>'],
    ['```sh\necho "x"\n```', '<span class="hljs-built_in">echo</span>'],
    ['```mermaid\ngood\n```', '<svg width="10" role="img" aria-label="Picture"><g/></svg>'],
    ['| a |\n| - |\n| b |', '<td role="cell" data-label="a">b</td>'],
  ])('%s becomes %s', (text, html) => {
    const { html: made, faults } = render(`# T\n\n${text}\n`);
    expect(faults).toEqual([]);
    expect(made).toContain(html);
  });

  test.each([
    ['[a](none.md)', 'a dead link: none.md'],
    ['[a](other.md#part-two)', 'a dead link: other.md#part-two'],
    ['[a](#nowhere)', 'a dead link: #nowhere'],
    ['[a](../../elsewhere.md)', 'a dead link: ../../elsewhere.md'],
    ['[a](/docs/other.md)', 'a dead link: /docs/other.md'],
    ['[a](../src/main.ts#L3)', 'a dead link: ../src/main.ts#L3'],
    ['[a](javascript:alert)', 'a dead link: javascript:alert'],
    [
      '![a](https://img.example/badge.svg)',
      'an image that is no file of the repository: https://img.example/badge.svg',
    ],
    ['[a](%zz.md)', 'a dead link: %zz.md'],
    ['[a](//e.example/)', 'a dead link: //e.example/'],
    ['![a](b.svg)', 'an image that is no file of the repository: b.svg'],
    ...['script', 'handler', 'link', 'import', 'other', 'open'].map((name) => [
      `![a](plots/${name}.svg)`,
      `an image that is no file of the repository: plots/${name}.svg`,
    ]),
    ['<details>\n<img/src=x>\n</details>', 'HTML that the site does not take: <img/src=x>'],
    ['![a](../src)', 'an image that is no file of the repository: ../src'],
    ['<script>alert(1)</script>', 'HTML that the site does not take: <script>'],
    ['<b onclick="x()">a</b>', 'HTML that the site does not take: <b onclick="x()">'],
    ['```mermaid\nbad\n```', 'a picture that cannot be drawn: line 1'],
  ])('%s is a fault', (text, fault) => {
    expect(render(`# T\n\n${text}\n`).faults).toContain(fault);
  });

  test('without a title is a fault', () => {
    expect(render('## Only a part\n').faults).toEqual(['no title: a heading with one #']);
  });

  /** A repository with the site's generator and nothing else. */
  async function emptyRepository(): Promise<string> {
    const folder = await temporaryFolder();
    for (const part of ['build/site', 'build/site.mjs', 'build/node-version.mjs', 'package.json']) {
      await mkdir(dirname(join(folder, part)), { recursive: true });
      await cp(join(root, part), join(folder, part), { recursive: true });
    }
    for (const empty of ['docs', 'deploy', 'examples', 'bench']) await mkdir(join(folder, empty));
    await symlink(join(root, 'node_modules'), join(folder, 'node_modules'));
    return folder;
  }

  test('a fault is named with its page, and nothing is written', async () => {
    const folder = await emptyRepository();
    await writeFile(join(folder, 'README.md'), '# R\n\n[gone](docs/gone.md)\n');
    await expect(run(process.execPath, ['build/site.mjs'], { cwd: folder })).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('README.md: a dead link: docs/gone.md'),
    });
    expect(existsSync(join(folder, 'dist-site'))).toBe(false);
  });

  test('is not made of files from elsewhere on the machine', async () => {
    const folder = await emptyRepository();
    const outside = await temporaryFolder();
    await writeFile(join(outside, 'secret.md'), '# Secret\n');
    await writeFile(join(outside, 'secret.png'), 'secret');
    await writeFile(join(folder, 'README.md'), '# R\n\n![a](docs/secret.png)\n');
    await symlink(join(outside, 'secret.png'), join(folder, 'docs/secret.png'));
    const made = run(process.execPath, ['build/site.mjs'], { cwd: folder });
    await expect(made).rejects.toMatchObject({ stderr: expect.stringContaining('an image that') });
    await symlink(join(outside, 'secret.md'), join(folder, 'docs/secret.md'));
    await symlink(outside, join(folder, 'examples/secret'));
    await expect(run(process.execPath, ['build/site.mjs'], { cwd: folder })).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining('docs/secret.md: a symbolic link'),
    });
    expect(existsSync(join(folder, 'dist-site'))).toBe(false);
  });
});

test.each([
  ['index.html', 'docs/guard.html', 'docs/guard.html'],
  ['docs/guard.html', 'index.html', '../index.html'],
  ['docs/a/b.html', 'docs/a/index.html', 'index.html'],
  ['docs/a/b.html', 'docs/c.html', '../c.html'],
  ['docs/a/b.html', 'assets/site.css', '../../assets/site.css'],
])('the link from %s to %s is %s', (from, to, link) => {
  expect(linkBetween(from, to)).toBe(link);
});

describe('the navigation', () => {
  const list = [
    { title: 'One', pages: ['README.md', 'docs/part/README.md'] },
    { title: 'Two', pages: ['docs/gone.md'] },
  ];

  test('puts a page that nobody listed below the README of its folder, or last', () => {
    const files = [
      'docs/new.md',
      'docs/part/b.md',
      'README.md',
      'docs/part/README.md',
      'docs/part/a.md',
    ];
    expect(arrange(files, list)).toEqual([
      {
        title: 'One',
        entries: [
          { file: 'README.md', below: [] },
          { file: 'docs/part/README.md', below: ['docs/part/a.md', 'docs/part/b.md'] },
        ],
      },
      { title: 'More', entries: [{ file: 'docs/new.md', below: [] }] },
    ]);
  });

  test('shows every page once', () => {
    const all = [
      ...(pages.get('index.html') ?? '').matchAll(/<nav id="pages"[\s\S]*?<\/nav>/g),
    ].join('');
    const shown = valuesOf(all, 'href').filter((href) => href.endsWith('.html'));
    expect(new Set(shown).size).toBe(shown.length);
    const below = [...pages.keys()].filter((path) => !shown.includes(path));
    for (const path of below) {
      expect(shown).toContain(posix.join(posix.dirname(path), 'index.html'));
    }
  });
});
