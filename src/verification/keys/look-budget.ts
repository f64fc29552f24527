/** How many looks may follow each other without a pause, after a quiet time. */
const BURST = 4;

/**
 * How often unknown keys may cause a look at the JWKS: a token bucket, filled by one look per cooldown. A provider that
 * changes its keys is looked at without delay; whoever invents key ids gets one look per cooldown, and {@link BURST} at
 * first. Instants and spans in milliseconds.
 */
export class LookBudget {
  readonly #cooldown: number;
  #looks = BURST;
  #filledAt: number | undefined;

  constructor(cooldown: number) {
    this.#cooldown = cooldown;
  }

  /** Takes a look out of the budget. @returns false when there is none. */
  take(now: number): boolean {
    this.#fill(now);
    if (this.#looks === 0) return false;
    this.#looks -= 1;
    return true;
  }

  /** When the next look is allowed; `now` when it is at once. */
  nextAt(now: number): number {
    this.#fill(now);
    return this.#looks > 0 ? now : (this.#filledAt ?? now) + this.#cooldown;
  }

  #fill(now: number): void {
    const elapsed = now - (this.#filledAt ?? now);
    const earned = Math.floor(elapsed / this.#cooldown);
    this.#looks = Math.min(BURST, this.#looks + Math.max(0, earned));
    // While it is full no time counts; and a clock that was set back must not stop the filling for as long as the jump.
    if (this.#filledAt === undefined || elapsed < 0 || this.#looks === BURST) this.#filledAt = now;
    else this.#filledAt += earned * this.#cooldown;
  }
}
