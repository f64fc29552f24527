// Loaded before everything else into a real process: its time passes only when the parent process says so. Timers run in
// their order, each after what came before has gone as far as it goes without time; while a request of this process is
// under way, or one that it was sent, no time passes.
import { channel } from 'node:diagnostics_channel';

const real = { Date, setTimeout, clearTimeout, setImmediate };
/** How long requests may keep time from passing, in real milliseconds: then what they wait for may be a timer. */
const PATIENCE = 2_000;
/** Turns of the event loop without work after which a process counts as idle. */
const IDLE_TURNS = 4;

let now = Number(process.env.SIMULATED_START);
let busy = 0;
let sequence = 0;
const timers = new Set();

class ProcessDate extends real.Date {
  constructor(...given) {
    if (given.length === 0) super(now);
    else super(...given);
  }

  static now() {
    return now;
  }
}

class Timer {
  constructor(act, milliseconds, repeats) {
    Object.assign(this, { act, milliseconds: Math.max(1, milliseconds || 0), repeats });
    this.refresh();
  }

  refresh() {
    this.at = now + this.milliseconds;
    this.sequence = sequence += 1;
    timers.add(this);
    return this;
  }

  close() {
    timers.delete(this);
  }

  ref() {
    return this;
  }

  unref() {
    return this;
  }

  hasRef() {
    return false;
  }

  [Symbol.toPrimitive]() {
    return this.sequence;
  }

  [Symbol.dispose ?? Symbol.for('dispose')]() {
    this.close();
  }
}

const clear = (timer) => {
  if (timer instanceof Timer) timer.close();
  else real.clearTimeout(timer);
};

Object.assign(globalThis, {
  Date: ProcessDate,
  setTimeout: (act, milliseconds, ...given) => new Timer(() => act(...given), milliseconds, false),
  setInterval: (act, milliseconds, ...given) => new Timer(() => act(...given), milliseconds, true),
  clearTimeout: clear,
  clearInterval: clear,
});

const open = new WeakSet();
const begin = (request) => {
  open.add(request);
  busy += 1;
};
const end = (request) => {
  if (open.delete(request)) busy -= 1;
};
channel('undici:request:create').subscribe(({ request }) => begin(request));
channel('undici:request:trailers').subscribe(({ request }) => end(request));
channel('undici:request:error').subscribe(({ request }) => end(request));
channel('http.client.request.start').subscribe(({ request }) => {
  // A request that waits for the next token waits for time to pass.
  if (request.getHeader('prefer') !== undefined) return;
  begin(request);
  request.once('close', () => end(request));
});
channel('http.server.request.start').subscribe(({ request, response }) => {
  if (request.headers.prefer !== undefined) return;
  begin(request);
  response.once('close', () => end(request));
});

const turn = () => new Promise((resolve) => real.setImmediate(resolve));
const pause = () => new Promise((resolve) => real.setTimeout(resolve, 1));

async function idle() {
  const since = performance.now();
  for (let quiet = 0; quiet < IDLE_TURNS;) {
    await turn();
    if (busy === 0) quiet += 1;
    else {
      quiet = 0;
      if (performance.now() - since > PATIENCE) return;
      await pause();
    }
  }
}

function firstTimer() {
  let first;
  for (const timer of timers) {
    if (first === undefined || timer.at < first.at) first = timer;
    else if (timer.at === first.at && timer.sequence < first.sequence) first = timer;
  }
  return first;
}

async function advance(until) {
  await idle();
  for (let timer = firstTimer(); timer !== undefined && timer.at <= until; timer = firstTimer()) {
    now = Math.max(now, timer.at);
    if (timer.repeats) timer.refresh();
    else timer.close();
    timer.act();
    await idle();
  }
  now = until;
}

// For the program, which is told by its parent process how far time has come.
Object.assign(globalThis, { [Symbol.for('simulation.advance')]: advance });
