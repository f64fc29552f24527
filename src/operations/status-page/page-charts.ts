import { earlyMargin } from '../../rotation/due.js';
import type { RotationOutcome } from '../../rotation/rotation.js';
import { html, type Html } from './html.js';
import type { TokenDetails, TokenStanding } from './page-facts.js';
import { lengthOf, shareOf, type Tone } from './page-model.js';

/** What the drawings refer to; once in a page. */
export const PATTERNS = html`<svg
  class="patterns"
  width="0"
  height="0"
  aria-hidden="true"
  focusable="false"
>
  <defs>
    <pattern
      id="margin"
      width="7"
      height="7"
      patternUnits="userSpaceOnUse"
      patternTransform="rotate(45)"
    >
      <path d="M0 0V7" />
    </pattern>
    <path id="m-slot" d="M0 12V36M-4 44L0 37L4 44z" />
    <path id="m-at" d="M0 4V40M-4 3L0 10L4 3z" />
    <path id="m-now" d="M0 5V27" />
    <path id="m-failed" d="M-5 11L5 21M5 11L-5 21" />
    <path id="m-next" d="M-5 21L0 11L5 21z" />
    <circle id="m-done" cy="16" r="6" />
    <circle id="m-idle" cy="16" r="3" />
    <circle id="m-elsewhere" cy="16" r="5" />
    <g id="s-good">
      <circle cx="10" cy="10" r="10" />
      <path d="M5 10.5l3.2 3.2L15 7" />
    </g>
    <g id="s-warning">
      <circle cx="10" cy="10" r="10" />
      <path d="M10 5v6.5M10 14.4v.2" />
    </g>
    <g id="s-bad">
      <circle cx="10" cy="10" r="10" />
      <path d="M6 6l8 8M14 6l-8 8" />
    </g>
  </defs>
</svg>`;

/** A tick, an exclamation mark or a cross in a disc: the same that the words beside it say. */
export function mark(tone: Tone): Html {
  return html`<svg class="mark ${tone}" viewBox="0 0 20 20" aria-hidden="true">
    <use href="#s-${tone}" />
  </svg>`;
}

const percent = (share: number): string => `${Math.round(share * 10_000) / 100}%`;

/** An instant on a clock of UTC: `03:00`, on another day `23 Nov 03:00`. */
export function clockOf(at: number, now: number): string {
  const text = new Date(at).toISOString();
  if (text.slice(0, 10) === new Date(now).toISOString().slice(0, 10)) return text.slice(11, 16);
  const month = MONTHS[Number(text.slice(5, 7)) - 1] ?? '';
  return `${Number(text.slice(8, 10))} ${month} ${text.slice(11, 16)}`;
}

const MONTHS = 'Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec'.split(' ');

/** A `time` element: words for people, the instant for programs. */
export function instant(at: number, words: string): Html {
  return html`<time datetime="${new Date(at).toISOString()}">${words}</time>`;
}

/** The bar of a token's life: what has passed, what is left, the slots, and the margin in which it is rotated early. */
export function lifeBar(
  { generatedAt, expiresAt }: TokenStanding,
  { slots, minimumLife }: Pick<TokenDetails, 'slots' | 'minimumLife'>,
  now: number,
  tone: Tone,
): Html | undefined {
  if (generatedAt === undefined || expiresAt === undefined) return undefined;
  const life = { from: generatedAt, to: expiresAt };
  const at = shareOf(now, life);
  const early = earlyMargin({ generatedAt, expiresAt }, minimumLife, now);
  const margin = shareOf(expiresAt - early, life);
  const left = Math.round((1 - at) * 100);
  const words = `${left} % of its life is left, ${lengthOf(expiresAt - now)}. ${slotWords(slots, now)} It is rotated early in its last ${lengthOf(early)}.`;
  return html`<svg class="bar ${tone}" width="100%" height="46" role="img" aria-label="${words}">
    <rect class="track" y="12" width="100%" height="22" rx="3" />
    <rect class="left" x="${percent(at)}" y="12" width="${percent(1 - at)}" height="22" rx="3" />
    <rect
      class="margin"
      x="${percent(margin)}"
      y="12"
      width="${percent(1 - margin)}"
      height="22"
      rx="3"
    />
    ${slots.map((slot) => html`<use class="slot" href="#m-slot" x="${percent(shareOf(slot, life))}" />`)}
    <use class="now" href="#m-at" x="${percent(at)}" />
  </svg>`;
}

function slotWords(slots: readonly number[], now: number): string {
  if (slots.length === 0) return 'No slot begins within it.';
  const shown = slots.slice(0, 3).map((slot) => clockOf(slot, now));
  const more = slots.length > shown.length ? ` and ${slots.length - shown.length} more` : '';
  return `Slots begin at ${shown.join(', ')}${more}.`;
}

/** A small bar for a row of the list. */
export function smallBar(
  { generatedAt, expiresAt }: TokenStanding,
  now: number,
  tone: Tone,
): Html | undefined {
  if (generatedAt === undefined || expiresAt === undefined) return undefined;
  const left = 1 - shareOf(now, { from: generatedAt, to: expiresAt });
  return html`<svg class="bar small ${tone}" width="100%" height="6" aria-hidden="true">
    <rect class="track" width="100%" height="6" rx="3" />
    <rect class="left" x="${percent(1 - left)}" width="${percent(left)}" height="6" rx="3" />
  </svg>`;
}

/** A rotation on the time line: of this process, or one that was seen. */
export interface RotationMark {
  readonly at: number;
  readonly kind: 'done' | 'failed' | 'idle' | 'elsewhere';
  readonly words: string;
}

/** The rotations of a token, the oldest first: those of this process, and the versions that others have made. */
export function rotationMarks(
  { outcomes, versions }: Pick<TokenDetails, 'outcomes' | 'versions'>,
  most: number,
): readonly RotationMark[] {
  const own = new Set(outcomes.map(({ versionId }) => versionId));
  const seen = versions
    .filter(({ versionId }) => !own.has(versionId))
    .map(({ mintedAt }): RotationMark => {
      return { at: mintedAt, kind: 'elsewhere', words: 'by another process, or before this one' };
    });
  return [...outcomes.map(markOf), ...seen]
    .toSorted((one, other) => one.at - other.at)
    .slice(-most);
}

const RESULTS: Readonly<Record<RotationOutcome['result'], string>> = {
  rotated: 'rotated',
  adopted: 'finished what another attempt had minted',
  'already-rotated': 'another process had rotated',
  recent: 'nothing to do, minted a moment ago',
  requested: 'asked Secrets Manager to rotate',
  failed: 'failed',
};

const TRIGGERS: Readonly<Record<RotationOutcome['trigger'], string>> = {
  schedule: 'by the schedule',
  early: 'early, because its life ran out or receivers refused it',
  http: 'for an admin',
  cli: 'by the command line',
  watchdog: 'by the watchdog',
  'secrets-manager': 'by Secrets Manager',
};

function markOf(outcome: RotationOutcome): RotationMark {
  const { at, result, trigger, code, durationMilliseconds } = outcome;
  const kind =
    result === 'failed' ? 'failed' : result === 'rotated' || result === 'adopted' ? 'done' : 'idle';
  const took = `${(durationMilliseconds / 1000).toFixed(durationMilliseconds < 10_000 ? 2 : 0)} s`;
  const why = code === undefined ? '' : ` (${code})`;
  return { at, kind, words: `${RESULTS[result]}${why}, ${TRIGGERS[trigger]}, in ${took}` };
}

/** The time line of a token's rotations, up to the next slot. What it shows, a list beside it says. */
export function timeLine(
  marks: readonly RotationMark[],
  nextSlot: number | undefined,
  now: number,
): Html | undefined {
  const [first] = marks;
  if (first === undefined) return undefined;
  const range = { from: first.at, to: Math.max(nextSlot ?? now, now) };
  const place = (at: number): string => percent(0.02 + 0.96 * shareOf(at, range));
  const failed = marks.filter(({ kind }) => kind === 'failed').length;
  const words = `Time line of ${marks.length} rotations, ${failed} failed${nextSlot === undefined ? '' : `; the next slot begins in ${lengthOf(nextSlot - now)}`}`;
  return html`<svg class="line" width="100%" height="32" role="img" aria-label="${words}">
    <line x1="2%" x2="98%" y1="16" y2="16" />
    <use class="now" href="#m-now" x="${place(now)}" />
    ${marks.map(({ at, kind }) => html`<use class="${kind}" href="#m-${kind}" x="${place(at)}" />`)}
    ${nextSlot !== undefined && html`<use class="next" href="#m-next" x="${place(nextSlot)}" />`}
  </svg>`;
}
