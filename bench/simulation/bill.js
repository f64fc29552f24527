/** Prices in US dollars; where each comes from, and when it was read, is in docs/economy.md. */
export const PRICES = {
  /** A secret of Secrets Manager for a month; a replica in another Region is one more. */
  secretMonth: 0.4,
  /** 10,000 calls of Secrets Manager. */
  storeCalls: 0.05,
  /** A customer-managed key of KMS for a month. */
  keyMonth: 1,
  /** 10,000 requests of KMS. Secrets Manager asks it once for each value that it reads or writes. */
  keyCalls: 0.03,
  /** A thousand tokens by client credentials: Amazon Cognito, first tier. */
  mints: 2.25,
};

const DAYS_IN_MONTH = 30;

/** The calls of Secrets Manager that read or write a value, for which it asks KMS. */
const WITH_KEY = ['GetSecretValue', 'PutSecretValue'];

/**
 * What a way costs, in US dollars for the days that were simulated. Processors and memory are not in it.
 *
 * @param secrets how many secrets there are, replicas in other Regions included; 0 where nothing is stored.
 */
export function billOf({ mints, storeCalls, secrets, days }, prices = PRICES) {
  const months = days / DAYS_IN_MONTH;
  const calls = sum(Object.values(storeCalls));
  const keyCalls = sum(WITH_KEY.map((name) => storeCalls[name] ?? 0));
  const parts = {
    mints: (mints / 1_000) * prices.mints,
    storeCalls: (calls / 10_000) * prices.storeCalls,
    keyCalls: (keyCalls / 10_000) * prices.keyCalls,
    secrets: secrets * prices.secretMonth * months,
    key: secrets === 0 ? 0 : prices.keyMonth * months,
  };
  return { ...parts, total: sum(Object.values(parts)) };
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
