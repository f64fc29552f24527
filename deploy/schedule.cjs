'use strict';

/**
 * The parameters `schedule`, `window` and `tokenLifetime`: what Secrets Manager accepts, by its user guide ("Rotation
 * schedules") and its API reference (RotationRulesType), and when alarms must fire so that somebody can still act.
 * All spans are in milliseconds.
 */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** Secrets Manager rotates as often as every four hours, and at least once in 999 days. */
const SHORTEST_PERIOD = 4 * HOUR;
const LONGEST_PERIOD = 999 * DAY;

/** What a token must outlive besides the gap between two rotations: the peers' caches, and the clock skew. */
const CACHES_AND_CLOCKS = 5 * MINUTE + MINUTE;

/** CloudWatch looks back a day with short periods, and a week with periods of an hour. */
const SHORT_LOOK_BACK = DAY;
const LONG_LOOK_BACK = 7 * DAY;

const MONTHS = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP', 'OCT', 'NOV', 'DEC'];
const WEEKDAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT'];

/** A parameter is wrong. The message ends with what is allowed. */
class Mistake extends Error {}

/**
 * Reads the schedule, the window and the token's life.
 *
 * @returns the properties of the rotation schedule and of the alarms.
 * @throws {Mistake} that says which parameter is wrong, and what is allowed.
 */
function readSchedule({ schedule, window, tokenLifetime }) {
  const starts = schedule.startsWith('rate(') ? readRate(schedule) : readCron(schedule);
  const length = window === '' ? starts.defaultWindow : readWindow(window, starts);
  const gap = starts.longest + length;
  const life = readLifetime(tokenLifetime);
  if (life <= gap + CACHES_AND_CLOCKS) {
    throw new Mistake(
      `tokenLifetime=${tokenLifetime} is too short for schedule=${schedule}: up to ${inWords(gap)} pass between two rotations` +
        `${window === '' ? ' (without a window, Secrets Manager has the rest of the day)' : ''}, and caches and clocks need six minutes more. ` +
        `Rotate more often, shorten the window, or give the life that the provider's tokens really have, as in tokenLifetime=30d.`,
    );
  }
  const alarms = alarmsFor(gap, life);
  // By its age, a token is seen to be overdue whatever the schedule; the period of the probe is added.
  const missingSeconds = (gap + Math.min(HOUR, (life - gap) / 2)) / 1000;
  return { expression: starts.expression, gap, missingSeconds, ...alarms };
}

/**
 * When the alarms fire: the first an hour, or half of the remaining life, after the gap; the second while half of what is left
 * then, and half an hour to notice it, remains. Neither fires while rotations are on time, and both fire before the token ends.
 */
function alarmsFor(gap, life) {
  const slack = life - gap;
  const wanted = gap + Math.min(HOUR, slack / 2);
  const period =
    Math.ceil(wanted / (5 * MINUTE)) * 5 * MINUTE <= SHORT_LOOK_BACK ? 5 * MINUTE : HOUR;
  const periods = Math.ceil(wanted / period);
  return {
    missing: {
      period: period / 1000,
      periods: Math.min(periods, LONG_LOOK_BACK / period),
      /** False if CloudWatch cannot look back so far, or could notice only after the token has ended. */
      isSeen:
        periods * period <= (period === HOUR ? LONG_LOOK_BACK : SHORT_LOOK_BACK) &&
        (periods + 1) * period < life,
    },
    expiringSeconds: Math.floor(Math.min(slack - 5 * MINUTE, slack / 2 + HOUR / 2) / 1000),
  };
}

function readRate(schedule) {
  const [, amount, unit] = /^rate\(([1-9]\d{0,5}) (hour|day)s?\)$/.exec(schedule) ?? [];
  if (amount === undefined)
    throw badSchedule(schedule, 'it is not of the form rate(12 hours) or rate(1 day)');
  const longest = Number(amount) * (unit === 'hour' ? HOUR : DAY);
  requirePeriod(schedule, longest, longest);
  return {
    expression: `rate(${amount} ${unit}${amount === '1' ? '' : 's'})`,
    shortest: longest,
    longest,
    // A schedule in days begins at midnight.
    ...(unit === 'hour'
      ? { lastHour: 0, defaultWindow: HOUR }
      : { lastHour: 0, defaultWindow: DAY }),
  };
}

function readCron(schedule) {
  const fields = /^cron\((.*)\)$/.exec(schedule)?.[1].trim().split(/\s+/);
  if (fields?.length !== 6) {
    throw badSchedule(schedule, 'it is neither rate(…) nor cron(…) with six fields');
  }
  const [minutes, hours, days, months, weekdays, years] = fields;
  if (minutes !== '0')
    throw badSchedule(schedule, 'the minutes must be 0: windows open on the hour');
  if (years !== '*') throw badSchedule(schedule, 'the year must be *');
  if ((days === '?') === (weekdays === '?')) {
    throw badSchedule(
      schedule,
      'one of the day of the month and the day of the week must be ?, and one not',
    );
  }
  const hourSet = readField(schedule, 'hours', hours, 0, 23);
  const monthSet = readField(schedule, 'month', months, 1, 12, MONTHS);
  const isDue = days === '?' ? weekdayTest(schedule, weekdays) : monthdayTest(schedule, days);

  const starts = [];
  // Eight years contain every pair of a date and a weekday that the limits below allow.
  for (let day = Date.UTC(2024, 0, 1); day < Date.UTC(2032, 0, 1); day += DAY) {
    const date = new Date(day);
    if (!monthSet.has(date.getUTCMonth() + 1) || !isDue(date)) continue;
    for (const hour of hourSet) starts.push(day + hour * HOUR);
  }
  const gaps = starts.slice(1).map((start, index) => start - starts[index]);
  if (gaps.length === 0) throw badSchedule(schedule, 'it never comes');
  const longest = Math.max(...gaps);
  if (longest > 366 * DAY) throw badSchedule(schedule, 'its rotations are more than a year apart');
  requirePeriod(schedule, Math.min(...gaps), longest);
  const [firstHour] = hourSet;
  return {
    expression: `cron(${fields.join(' ')})`,
    shortest: Math.min(...gaps),
    longest,
    lastHour: Math.max(...hourSet),
    defaultWindow: longest < DAY ? HOUR : DAY - firstHour * HOUR,
  };
}

function requirePeriod(schedule, shortest, longest) {
  if (shortest < SHORTEST_PERIOD) {
    throw badSchedule(
      schedule,
      `two rotations would be ${inWords(shortest)} apart, and Secrets Manager rotates every four hours at most`,
    );
  }
  if (longest > LONGEST_PERIOD) throw badSchedule(schedule, 'it is longer than 999 days');
}

/** The values of a field, ascending: `*`, `3`, `3,15`, `1-5`, `3/12`, `1-9/2`, and names where there are some. */
function readField(schedule, title, text, least, most, names = []) {
  const number = (word) => {
    const named = names.indexOf(word.toUpperCase());
    const value = named >= 0 ? named + least : /^\d{1,2}$/.test(word) ? Number(word) : NaN;
    if (value >= least && value <= most) return value;
    throw badSchedule(
      schedule,
      `the ${title} ${JSON.stringify(word)} is not from ${least} to ${most}`,
    );
  };
  const values = new Set();
  for (const item of text.split(',')) {
    const [, range, step] = /^([^/]+)(?:\/([1-9]\d?))?$/.exec(item) ?? [];
    if (range === undefined)
      throw badSchedule(schedule, `the ${title} ${JSON.stringify(item)} cannot be read`);
    const [first, last, ...more] = range === '*' ? [String(least), String(most)] : range.split('-');
    if (more.length > 0)
      throw badSchedule(schedule, `the ${title} ${JSON.stringify(item)} cannot be read`);
    const from = number(first);
    const to = last !== undefined ? number(last) : step === undefined ? from : most;
    if (to < from)
      throw badSchedule(schedule, `the ${title} ${JSON.stringify(item)} runs backwards`);
    for (let value = from; value <= to; value += Number(step ?? 1)) values.add(value);
  }
  return new Set([...values].sort((one, other) => one - other));
}

function monthdayTest(schedule, text) {
  if (text === 'L') return isLastWeek(1);
  const days = readField(schedule, 'day of the month', text, 1, 31);
  return (date) => days.has(date.getUTCDate());
}

/** Sunday is 1. `6L` is the last Friday of the month, `2#1` its first Monday, and `L` alone Saturday. */
function weekdayTest(schedule, text) {
  const [, word, ending, nth] = /^(\w+?)(L|#([1-5]))$/i.exec(text) ?? [];
  if (text === 'L') return (date) => date.getUTCDay() === 6;
  if (ending === undefined || WEEKDAYS.includes(text.toUpperCase())) {
    const days = readField(schedule, 'day of the week', text, 1, 7, WEEKDAYS);
    return (date) => days.has(date.getUTCDay() + 1);
  }
  const days = readField(schedule, 'day of the week', word, 1, 7, WEEKDAYS);
  const isInWeek =
    nth === undefined ? isLastWeek(7) : (date) => Math.ceil(date.getUTCDate() / 7) === Number(nth);
  return (date) => days.has(date.getUTCDay() + 1) && isInWeek(date);
}

/** Whether a date is one of the last days of its month. */
function isLastWeek(days) {
  return (date) => new Date(date.getTime() + days * DAY).getUTCMonth() !== date.getUTCMonth();
}

function readWindow(window, { shortest, lastHour }) {
  const hours = /^([1-9]\d?)h$/.exec(window)?.[1];
  const length = Number(hours) * HOUR;
  if (hours === undefined || length > DAY) {
    throw new Mistake(`window=${window} is no length in hours: 1h to 24h, as in window=2h.`);
  }
  if (length > shortest) {
    throw new Mistake(
      `window=${window} extends into the next rotation, which may begin ${inWords(shortest)} later: give ${shortest / HOUR}h at most.`,
    );
  }
  if (lastHour * HOUR + length > DAY) {
    throw new Mistake(
      `window=${window} extends into the next UTC day, because the last window of a day opens at ${lastHour}:00: give ${24 - lastHour}h at most.`,
    );
  }
  return length;
}

function readLifetime(text) {
  const [, amount, unit] = /^([1-9]\d{0,5})(m|h|d)$/.exec(text) ?? [];
  if (amount === undefined) {
    throw new Mistake(
      `tokenLifetime=${text} is no length of time: give minutes, hours or days, as in 1440m, 24h or 30d.`,
    );
  }
  return Number(amount) * { m: MINUTE, h: HOUR, d: DAY }[unit];
}

function badSchedule(schedule, why) {
  return new Mistake(
    `schedule=${schedule} is refused by Secrets Manager: ${why}. Good ones are cron(0 3/12 * * ? *), cron(0 3 * * ? *), rate(12 hours) and rate(1 day), in UTC.`,
  );
}

function inWords(span) {
  const hours = span / HOUR;
  return hours >= 48 && hours % 24 === 0
    ? `${hours / 24} days`
    : `${hours} hour${hours === 1 ? '' : 's'}`;
}

/** `*`, or days and ranges of days, in numbers from 0 for Sunday or by name. */
const WEEKDAY_LIST = new RegExp(
  `^(?:\\*|(?:DAY|[0-6]-[0-6]|NAME-NAME)(?:,(?:DAY|[0-6]-[0-6]|NAME-NAME))*)$`
    .replaceAll('DAY', '(?:[0-7]|NAME)')
    .replaceAll('NAME', `(?:${WEEKDAYS.join('|')})`),
  'i',
);

/**
 * A cron expression of the broker (`rotation.cron`: five fields, Sunday is 0) in Secrets Manager's notation.
 *
 * @throws {Mistake} for one that has no counterpart there.
 */
function awsCron(expression) {
  const wrong = (why) =>
    new Mistake(
      `"${expression}" cannot be a schedule of Secrets Manager: ${why}. Good ones are 0 3,15 * * * and 0 3 * * *, in UTC.`,
    );
  let fields = expression.trim().split(/\s+/);
  if (fields.length === 6 && fields[0] === '0') fields = fields.slice(1);
  if (fields.length !== 5) throw wrong('it does not have five fields');
  const [minutes, hours, days, months, weekdays] = fields;
  if (!/^[\d*,/-]+$/.test(days)) throw wrong('the days of the month are not numbers');
  if (days !== '*' && weekdays !== '*') {
    throw wrong('it has both days of the month and days of the week');
  }
  if (!WEEKDAY_LIST.test(weekdays)) throw wrong('the days of the week are not 0 to 6 or names');
  if (weekdays === '*') return `cron(${minutes} ${hours} ${days} ${months} ? *)`;
  const shifted = weekdays.replaceAll(/\d/g, (day) => String((Number(day) % 7) + 1));
  return `cron(${minutes} ${hours} ? ${months} ${shifted} *)`;
}

module.exports = { awsCron, Mistake, readSchedule };
