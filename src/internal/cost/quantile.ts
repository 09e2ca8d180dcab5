/** The value at a share of sorted values: the smallest one that so many do not exceed. `undefined` where there are none. */
export const quantile = (sorted: ReadonlyArray<number>, share: number): number | undefined =>
  sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]
