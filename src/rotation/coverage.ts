/** Spans in milliseconds that decide whether a token outlives the worst gap between two rotations. */
export interface CoverageInput {
  /** The life of a token when it is minted. */
  readonly tokenLifetime: number;
  /** The longest time between two slots. */
  readonly period: number;
  /** How long after a slot's start the rotation may begin. Zero for the broker's own schedule. */
  readonly window: number;
  /** How long a peer or a replica may go on with a cached token. */
  readonly cacheTtl: number;
  /** Tolerated difference between two machines' clocks. */
  readonly skew: number;
}

/** The answer of {@link checkCoverage}. */
export interface Coverage {
  /** True when the token outlives the worst gap. */
  readonly covered: boolean;
  /** The life a token must exceed, in milliseconds. */
  readonly required: number;
  /** One sentence for people: what was compared, and what to do when it falls short. */
  readonly explanation: string;
}

/** The coverage check: `token lifetime > period + window + cache time to live + skew`. */
export function checkCoverage(input: CoverageInput): Coverage {
  const required = input.period + input.window + input.cacheTtl + input.skew;
  const covered = input.tokenLifetime > required;
  const compared = `A token lives ${hours(input.tokenLifetime)}; the worst gap between two rotations needs more than ${hours(required)}`;
  return {
    covered,
    required,
    explanation: covered
      ? `${compared}.`
      : `${compared}. Raise the provider's token lifetime or rotate more often; until then the broker rotates early, before the token runs out.`,
  };
}

function hours(milliseconds: number): string {
  return `${(milliseconds / 3_600_000).toFixed(2)} h`;
}
