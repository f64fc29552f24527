import { Counter, type CounterConfiguration, type LabelValues } from 'prom-client';

/**
 * A counter for what happens with every request. The library looks a series up by text that it makes of the labels
 * anew each time; here that is done once per series and scrape, and counting is an addition.
 */
export class Tally<Label extends string> {
  readonly #series = new Map<string, { readonly labels: LabelValues<Label>; count: number }>();

  constructor(configuration: Omit<CounterConfiguration<Label>, 'collect'>) {
    const counter: Counter<Label> = new Counter({
      ...configuration,
      collect: () => {
        for (const series of this.#series.values()) {
          counter.inc(series.labels, series.count);
          series.count = 0;
        }
      },
    });
  }

  /** Counts one. @param labels with their names in the same order each time. */
  add(labels: LabelValues<Label>): void {
    let key = '';
    for (const name in labels) key += `${labels[name]} `;
    const series = this.#series.get(key);
    if (series === undefined) this.#series.set(key, { labels, count: 1 });
    else series.count += 1;
  }
}
