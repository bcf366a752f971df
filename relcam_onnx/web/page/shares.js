// What the model says of each class, 0 to 1.

const SMALL = 2 ** -126; // the smallest number of float32

const sigmoid = (z) => 1 / (1 + Math.exp(-z));

export function softmax(scores) {
  const most = scores.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float64Array.from(scores, (z) => Math.exp(z - most));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

/** Whether scores are shares already. */
export const areShares = ({ squashed }) => squashed === "Shares" || squashed === "EachItsShare";

/** Whether classes do not compete. */
export const areApart = ({ squashed }) => squashed === "Sigmoid" || squashed === "EachItsShare";

/** Scores; of shares what a softmax, or a sigmoid of each, makes them of. */
export function logits(scores, { squashed }) {
  if (!areShares({ squashed })) return scores;
  const log = (share) => Math.log(Math.max(share, SMALL));
  return Float64Array.from(scores, (p) => log(p) - (squashed === "EachItsShare" ? log(1 - p) : 0));
}

/**
 * Scores as shares of 1, if they are none: a sigmoid for each where the model ends in one or has one score alone, sigmoids over their sum
 * where it divides by that, else their softmax.
 */
export function probabilities(scores, { squashed, paired }) {
  if (areShares({ squashed })) return paired ? Float64Array.of(1 - scores[0], scores[0]) : Float64Array.from(scores);
  if (paired) return Float64Array.of(sigmoid(-scores[0]), sigmoid(scores[0]));
  if (squashed === "OneVsRest") {
    const each = Float64Array.from(scores, sigmoid);
    const sum = each.reduce((a, b) => a + b, 0);
    return each.map((share) => share / sum);
  }
  return squashed === "Sigmoid" || scores.length === 1 ? Float64Array.from(scores, sigmoid) : softmax(scores);
}

/** One to explain: its number for the compiled file, its class, what the model says of it, and its box. */
export const candidate = (number, index, share, box = null) => ({ number, index, share, box });
