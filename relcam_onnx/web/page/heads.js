// What a model's outputs say: probabilities, margins, and what there is to explain, as relcam_onnx/results/probabilities.py
// and results/evidence.py have it.

import { detections } from "./detector.js";
import { areApart, areShares, candidate, logits, probabilities } from "./shares.js";

const LITTLE = 1; // logits: a margin below it is no evidence for a class over its rivals

const compete = (scores, model) => !areApart(model) && scores.length > 1;

/** How far a class is ahead of its nearest rivals, in logits: ⌈log2 classes⌉ of them, and those equally near share. */
export function margin(told, index, model) {
  const scores = logits(told, model);
  if (model.paired) return index === 1 ? scores[0] : -scores[0];
  if (!compete(scores, model)) return scores[index];
  const count = Math.ceil(Math.log2(scores.length));
  const others = Array.from(scores, (score) => ({ score, away: Math.abs(score - scores[index]) }));
  others.splice(index, 1);
  others.sort((a, b) => a.away - b.away);
  const edge = others[count - 1].away;
  const nearer = others.filter(({ away }) => away < edge);
  const level = others.filter(({ away }) => away === edge);
  const sum = (group) => group.reduce((total, { score }) => total + score, 0);
  const share = (count - nearer.length) / level.length;
  return scores[index] - (sum(nearer) + share * sum(level)) / count;
}

/** What is to be said of a target that the model has no evidence for; null where it has. */
export function doubt(scores, candidate, ahead, model) {
  if (model.head.kind === "detector") {
    return candidate.share <= model.reading.confidence ? "the model does not detect this" : null;
  }
  if (compete(scores, model)) return ahead < LITTLE ? "no evidence for this class over its rivals" : null;
  const decides = areApart(model) || model.paired;
  return decides && ahead < 0 ? "the model says no to this class" : null;
}

/** The classes by what the model says of each, best first. */
function classes(scores, model) {
  const shares = Array.from(probabilities(scores, model), (share, index) => candidate(index, index, share));
  return shares.sort((a, b) => b.share - a.share || a.index - b.index);
}

/** The classes by the share of the pixels that each wins, most first, a background last; only those that win any. */
function areas(tensor, model) {
  const { rank, axis } = model.head;
  const { dims, data } = tensor;
  const held = new Map();
  const win = (index) => held.set(index, (held.get(index) ?? 0) + 1);
  const told = dims[axis] > 1 || !isWhole(data); // bytes of several channels are their shares, of one what was decided
  const wide = rank === 4 && dims[axis] === (model.paired ? 1 : model.classes) && told ? dims[axis] : 0;
  if (!wide) {
    for (let i = 0; i < data.length / dims[0]; i++) win(Number(data[i]));
  } else {
    const inner = dims.slice(axis + 1).reduce((a, b) => a * b, 1);
    const outer = dims.slice(1, axis).reduce((a, b) => a * b, 1);
    const zero = (model.squashed === "Sigmoid" && !model.head.raw) || areShares(model) ? 0.5 : 0;
    for (let run = 0; run < outer; run++) {
      for (let at = run * wide * inner; at < run * wide * inner + inner; at++) {
        if (model.paired) {
          win(data[at] > zero ? 1 : 0);
          continue;
        }
        if (model.apart) {
          for (let c = 0; c < wide; c++) if (data[at + c * inner] > zero) win(c);
          continue;
        }
        let best = 0;
        for (let c = 1; c < wide; c++) if (data[at + c * inner] > data[at + best * inner]) best = c;
        win(best);
      }
    }
  }
  const total = wide ? data.length / dims[0] / wide : data.length / dims[0];
  const last = (index) => (index === model.background ? 1 : 0);
  return [...held]
    .map(([index, count]) => candidate(index, index, count / total))
    .sort((a, b) => last(a.index) - last(b.index) || b.share - a.share || a.index - b.index);
}

const isWhole = (data) => !(data instanceof Float32Array || data instanceof Float64Array);

/**
 * What there is to explain in a picture.
 * @param outputs The model's own outputs by name, and its scores.
 * @param size [height, width] of the model's input.
 * @returns {list, of, numbered}: the best of it; what stands for a class; what a target's number means.
 */
export function candidatesOf(outputs, model, size) {
  if (model.head.kind === "detector") return detections(outputs, model, size);
  const told =
    model.head.kind === "segmenter"
      ? areas(outputs[model.head.output], model)
      : classes(outputs[model.outputs.scores].data.subarray(0, scoresPerImage(outputs, model)), model);
  const of = (index) => told.find((one) => one.index === index) ?? candidate(index, index, 0);
  return { list: told.slice(0, 5), of, numbered: of };
}

const scoresPerImage = (outputs, model) => {
  const { dims } = outputs[model.outputs.scores];
  return dims.slice(1).reduce((a, b) => a * b, 1);
};

/** The scores at the target of a run, of the first image of a batch. */
export function scoresAt(outputs, model) {
  return outputs[model.outputs.scores].data.slice(0, scoresPerImage(outputs, model));
}
