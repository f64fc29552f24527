// The search field. The sections are loaded when somebody turns to it: from a script, because a page that is opened as a
// file may fetch nothing.
import { createSearch } from './search.mjs';

const { sections, root } = document.currentScript.dataset;
const form = document.querySelector('form[role=search]');
const input = document.querySelector('#search');
const results = document.querySelector('#results');
const [status, list] = results.children;
let loading;

/** @returns the search, once. */
function load() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement('script');
    script.src = sections;
    script.addEventListener('load', () => resolve(createSearch(globalThis.siteSections)));
    script.addEventListener('error', () => {
      loading = undefined;
      reject(new Error('The search could not be loaded.'));
    });
    document.head.append(script);
  });
  return loading;
}

async function show() {
  const query = input.value.trim();
  if (query === '') {
    close();
    return;
  }
  try {
    const search = await load();
    // Somebody typed on while it was loading.
    if (query !== input.value.trim()) return;
    const found = search(query);
    status.textContent =
      found.length === 0 ? `Nothing found for “${query}”.` : `Best sections for “${query}”`;
    list.replaceChildren(...found.map(item));
  } catch (error) {
    status.textContent = error.message;
    list.replaceChildren();
  }
  results.hidden = false;
}

function item({ url, page, heading, excerpt: [before, word, after] }) {
  const link = document.createElement('a');
  link.href = root + url;
  link.append(element('b', heading));
  if (heading !== page) link.append(element('span', page));
  const mark = element('mark', word);
  const text = element('p', before);
  if (word !== '') text.append(mark);
  text.append(after);
  link.append(text);
  const entry = document.createElement('li');
  entry.append(link);
  return entry;
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function close() {
  results.hidden = true;
}

/** Moves the focus among the field and the results. */
function step(by) {
  const places = [input, ...list.querySelectorAll('a')];
  const at = places.indexOf(document.activeElement);
  places[Math.max(0, Math.min(places.length - 1, at + by))].focus();
}

// The list of pages is longer than the window: the reader's own page is shown in it.
const pages = document.querySelector('#pages');
const here = pages.querySelector('[aria-current]');
if (here !== null && here.offsetTop > pages.clientHeight * 0.8) {
  pages.scrollTop = here.offsetTop - pages.clientHeight / 2;
}

form.hidden = false;
form.addEventListener('submit', (event) => {
  event.preventDefault();
  list.querySelector('a')?.click();
});
input.addEventListener('focus', () => void load().catch(() => {}));
input.addEventListener('input', () => void show());
document.addEventListener('keydown', (event) => {
  const inResults = results.contains(document.activeElement) || document.activeElement === input;
  if (event.key === '/' && !inResults) {
    event.preventDefault();
    input.focus();
    input.select();
  } else if (event.key === 'Escape' && !results.hidden) {
    close();
    input.focus();
  } else if (
    inResults &&
    !results.hidden &&
    (event.key === 'ArrowDown' || event.key === 'ArrowUp')
  ) {
    event.preventDefault();
    step(event.key === 'ArrowDown' ? 1 : -1);
  }
});
document.addEventListener('click', (event) => {
  if (!results.contains(event.target) && !form.contains(event.target)) close();
});
// A result on this page leads to another place in it.
list.addEventListener('click', () => close());
