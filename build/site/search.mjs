// What the search finds: the same code in the browser and in the tests.
import MiniSearch from 'minisearch';

/** Letters on each side of the first word that was found, in an excerpt. */
const EXCERPT = 90;
/** What was is rarely what is looked for. */
const HISTORY = 'changelog.html';

/**
 * Makes the search.
 *
 * @param sections what `sectionsOf` gives for every page.
 * @param limit of the sections that are found.
 * @returns a function from what somebody typed to the best sections: `url`, `page`, `heading`, and an `excerpt` in three parts: before the words found, the words, and after.
 */
export function createSearch(sections, limit = 12) {
  const index = new MiniSearch({ fields: ['heading', 'page', 'text'], tokenize: wordsOf });
  index.addAll(sections.map((section, id) => ({ id, ...section })));
  const whole = sections.map(({ heading, text }) => spaced(`${heading} ${text}`));
  return (query) => {
    const phrase = spaced(query);
    return index
      .search(query, {
        boost: { heading: 4, page: 2 },
        prefix: (term) => term.length > 1,
        fuzzy: (term) => (term.length > 4 ? 0.2 : false),
        combineWith: 'AND',
        boostDocument: (id) =>
          (whole[id].includes(phrase) ? 3 : 1) * (sections[id].url.startsWith(HISTORY) ? 0.4 : 1),
      })
      .slice(0, limit)
      .map(({ id, terms }) => {
        const { url, page, heading, text } = sections[id];
        return { url, page, heading, excerpt: excerptOf(text, [phrase, ...terms]) };
      });
  };
}

/** The words of a text; of `BROKER_ISSUER` the whole, and its parts. */
function wordsOf(text) {
  const joined = text.match(/[\p{L}\p{N}]+(?:[_.:/-][\p{L}\p{N}]+)+/gu) ?? [];
  return [...text.split(/[^\p{L}\p{N}]+/u), ...joined].filter((word) => word !== '');
}

/** A text in small letters, with a space for whatever is between its words; as long as the text. */
function spaced(text) {
  return text.toLowerCase().replaceAll(/[^\p{L}\p{N}]/gu, (one) => ' '.repeat(one.length));
}

/** The text around the first of some words that it has. */
function excerptOf(text, words) {
  const plain = spaced(text);
  const word = words.map(spaced).find((one) => plain.includes(one)) ?? '';
  const at = plain.indexOf(word);
  const end = at + word.length;
  const from = at <= EXCERPT ? 0 : Math.min(at, text.indexOf(' ', at - EXCERPT) + 1);
  const to = text.length - end <= EXCERPT ? text.length : text.lastIndexOf(' ', end + EXCERPT);
  return [
    `${from > 0 ? '… ' : ''}${text.slice(from, at)}`,
    text.slice(at, end),
    to >= text.length ? text.slice(end) : `${text.slice(end, Math.max(end, to))} …`,
  ];
}
