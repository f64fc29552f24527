/** Who tests of file permissions run as when they are started by root, for whom permissions do not count: nobody. */
const NOBODY = 65_534;

/** The user that {@link asOrdinaryUser} acts as. */
export const ordinaryUser = (): number =>
  process.geteuid?.() === 0 ? NOBODY : (process.geteuid?.() ?? 0);

/** Runs `act` as a user whom the kernel holds to file permissions. Nothing else may run in this process meanwhile. */
export async function asOrdinaryUser<T>(act: () => Promise<T>): Promise<T> {
  if (process.geteuid?.() !== 0) return act();
  process.seteuid?.(NOBODY);
  try {
    return await act();
  } finally {
    process.seteuid?.(0);
  }
}
