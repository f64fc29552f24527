/** Milliseconds of a quick test: all of them judge a mutant before the first slower one does. */
const QUICK = 20;

/** @param waited and `worked`: milliseconds of a test without a mutant. */
export const isQuick = ({ waited, worked }) => waited + worked < QUICK;
