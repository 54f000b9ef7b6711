/** The few functions of jstat 1.9 that statistics.ts calls; the package brings no types of its own. */
declare module "jstat" {
  interface Distribution {
    /** Probability of a value of at most `x`, with `freedom` degrees of freedom (a fraction is allowed). */
    cdf(x: number, freedom: number): number;
    /** The value below which a part `probability` of all values lies. */
    inv(probability: number, freedom: number): number;
  }
  export const jStat: {
    mean(values: readonly number[]): number;
    median(values: readonly number[]): number;
    /** Standard deviation; with `sample` the divisor is n - 1. */
    stdev(values: readonly number[], sample: boolean): number;
    studentt: Distribution;
    chisquare: Distribution;
  };
}
