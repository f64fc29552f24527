import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';

import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { chromium } from 'playwright-core';
import { TEMPORARY } from '../support/temporary-folder.js';

const root = fileURLToPath(new URL('../../', import.meta.url));
/** The folder that Debian's package was unpacked into, by run.sh. */
const CHROMIUM = process.env['INTEROP_CHROMIUM'];
/** Screenshots are kept here, for people; default: none are. */
const SHOTS = process.env['INTEROP_SCREENSHOTS'];
const LIBRARIES = join(CHROMIUM ?? '', 'usr/lib/x86_64-linux-gnu');
const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.svg': 'image/svg+xml',
};

const inBrowser = CHROMIUM === undefined ? describe.skip : describe;

const DESKTOP = { width: 1440, height: 900 };
const PHONE = { width: 360, height: 740 };
/** Every form that content takes: a picture, wide tables, code, lists. */
const VIEWS: readonly (readonly [string, BrowserContextOptions, string])[] = [
  ['desktop, light', { viewport: DESKTOP, colorScheme: 'light' }, 'index.html'],
  ['desktop, light', { viewport: DESKTOP, colorScheme: 'light' }, 'docs/configuration.html'],
  ['desktop, dark', { viewport: DESKTOP, colorScheme: 'dark' }, 'docs/architecture.html'],
  ['desktop, dark', { viewport: DESKTOP, colorScheme: 'dark' }, 'docs/other-languages.html'],
  ['phone, light', { viewport: PHONE, colorScheme: 'light' }, 'docs/other-languages.html'],
  ['phone, light', { viewport: PHONE, colorScheme: 'light' }, 'docs/identities/index.html'],
  ['phone, dark', { viewport: PHONE, colorScheme: 'dark' }, 'index.html'],
  ['phone, dark', { viewport: PHONE, colorScheme: 'dark' }, 'docs/configuration.html'],
];

inBrowser('the site in Chromium', () => {
  let browser: Browser;
  let server: Server;
  let folder = '';
  let axe: string;
  let files: ReadonlyMap<string, Buffer>;
  /** Where it is served, below a path; and where it lies on the disk. */
  let served: string;
  let onDisk: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(TEMPORARY, 'site-browser-'));
    await promisify(execFile)(process.execPath, ['build/site.mjs', folder], { cwd: root });
    const names = (await readdir(folder, { recursive: true, withFileTypes: true }))
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name));
    const read = new Map<string, Buffer>();
    for (const name of names) read.set(name.slice(folder.length), await readFile(name));
    files = read;
    onDisk = pathToFileURL(folder).href;
    server = createServer((request, response) => {
      const path = new URL(request.url ?? '', 'http://site').pathname;
      const content = path.startsWith('/help/') ? files.get(path.slice('/help'.length)) : undefined;
      if (content === undefined) response.statusCode = 404;
      response.setHeader('content-type', TYPES[extname(path)] ?? 'text/plain');
      response.end(content ?? 'not here');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    served = `http://127.0.0.1:${(server.address() as AddressInfo).port}/help`;
    const { resolve } = createRequire(import.meta.url);
    axe = await readFile(join(dirname(resolve('axe-core')), 'axe.min.js'), 'utf8');
    browser = await chromium.launch({
      executablePath: join(CHROMIUM ?? '', 'usr/lib/chromium/chromium'),
      // In a container there is neither a user namespace nor a graphics card.
      args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage'],
      env: {
        ...process.env,
        LD_LIBRARY_PATH: [LIBRARIES, join(LIBRARIES, 'pulseaudio')].join(':'),
      },
    });
  });

  afterAll(async () => {
    await browser?.close();
    await new Promise((resolve) => server.close(resolve));
    await rm(folder, { recursive: true, force: true });
  });

  /** A page, everything that the browser complained about, and every address that was asked for. */
  async function open(
    url: string,
    options: BrowserContextOptions = {},
  ): Promise<{ readonly page: Page; readonly complaints: string[]; readonly asked: string[] }> {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    const complaints: string[] = [];
    const asked: string[] = [];
    page.on('console', (message) => complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('request', (request) => asked.push(request.url()));
    await page.goto(url);
    return { page, complaints, asked };
  }

  async function violations(page: Page): Promise<readonly string[]> {
    await page.evaluate(axe);
    const found = await page.evaluate(
      `axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => violations.map(({ id, nodes }) => id + ': ' + nodes.slice(0, 5).map(({ html }) => html).join(' ')))`,
    );
    return found as readonly string[];
  }

  test.each(VIEWS)(
    '%s: axe finds nothing, and nothing is wider than the window',
    async (name, options, path) => {
      // The page's own policy forbids what axe is put in by.
      const { page, complaints } = await open(`${served}/${path}`, { bypassCSP: true, ...options });
      if (SHOTS !== undefined) {
        const file = `site-${name}-${path}.png`.replaceAll(/[^a-z.]+/g, '-');
        await page.screenshot({ path: join(SHOTS, file) });
      }
      expect(await violations(page)).toEqual([]);
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(
        options.viewport?.width,
      );
      expect(complaints).toEqual([]);
      await page.context().close();
    },
  );

  describe.each([
    ['below a path of a server', (): string => served],
    ['as files, without a server', (): string => onDisk],
  ])('%s', (_name, place) => {
    test('it is styled, finds what is looked for, and leads there, within its policy', async () => {
      const { page, complaints, asked } = await open(`${place()}/docs/guard.html`);
      expect(await page.evaluate('document.styleSheets.length')).toBe(1);
      expect(await page.evaluate('getComputedStyle(document.body).marginTop')).toBe('0px');
      await page.keyboard.press('/');
      await page.keyboard.type('rotation failed');
      const first = page.locator('#results li a').first();
      await first.waitFor();
      await page.waitForFunction(
        `document.querySelector('#results li a').href.endsWith('docs/runbook.html#rotation-failed')`,
      );
      await page.keyboard.press('ArrowDown');
      expect(await page.evaluate(`document.activeElement.closest('#results') !== null`)).toBe(true);
      await page.keyboard.press('Enter');
      await page.waitForURL(/docs\/runbook\.html#rotation-failed$/);
      expect(complaints).toEqual([]);
      expect(asked.length).toBeGreaterThan(3);
      expect(asked.filter((url) => !url.startsWith(place()))).toEqual([]);
      await page.context().close();
    });
  });

  test('axe finds nothing while results are shown; Escape closes them', async () => {
    const { page } = await open(`${served}/index.html`, { bypassCSP: true });
    await page.locator('#search').fill('token');
    await page.locator('#results li a').first().waitFor();
    expect(await violations(page)).toEqual([]);
    await page.keyboard.press('Escape');
    expect(await page.locator('#results').isVisible()).toBe(false);
    await page.locator('#search').fill('xyzzyx');
    await page.waitForFunction(
      `document.querySelector('#results [role=status]').textContent.startsWith('Nothing found')`,
    );
    await page.context().close();
  });

  test('a phone opens the list of pages and the headings, and gets back', async () => {
    const { page } = await open(`${served}/docs/guard.html`, {
      bypassCSP: true,
      viewport: { width: 360, height: 740 },
    });
    expect(await page.locator('#pages').isVisible()).toBe(false);
    await page.locator('header .opener').first().click();
    expect(await page.locator('#pages').isVisible()).toBe(true);
    expect(await violations(page)).toEqual([]);
    await page.locator('#pages .closer').click();
    expect(await page.locator('#pages').isVisible()).toBe(false);
    await page.locator('header .opener').last().click();
    await page.locator('#contents li a').nth(1).click();
    expect(await page.locator('#contents').isVisible()).toBe(false);
    await page.context().close();
  });

  test('works without a script: everything but the search, which is not shown', async () => {
    const { page } = await open(`${served}/index.html`, { javaScriptEnabled: false });
    expect(await page.locator('form').isVisible()).toBe(false);
    await page.locator('#pages a', { hasText: 'Runbook' }).click();
    expect(await page.locator('h1').textContent()).toContain('Runbook');
    await page.context().close();
  });
});
