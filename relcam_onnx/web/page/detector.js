// What a detector's outputs say: boxes, confidence, and what is left of them by non-maximum suppression, as
// relcam_onnx/runners/found.py has it.

import { BOX, boxAt, boxesOf, overlap, table } from "./boxes.js";
import { rowsOf } from "./chosen.js";
import { candidate, probabilities } from "./shares.js";

/** What a detector says of each class at each place, 0 to 1, place after place: {shares, places, count}. */
function sharesOf(outputs, model) {
  const { head, squashed, background } = model;
  const joined = head.joined !== null;
  const parts = joined
    ? [joinedShares(outputs[head.output], model)]
    : (head.levels.length ? head.levels : [head.output]).map((name) => table(outputs[name], head.axis));
  const count = parts[0].count;
  const places = parts.reduce((sum, part) => sum + part.places, 0);
  const shares = new Float32Array(places * count);
  let row = 0;
  for (const part of parts) {
    for (let place = 0; place < part.places; place++, row++) {
      for (let c = 0; c < count; c++) shares[row * count + c] = part.at(place, c);
    }
  }
  const told = squashed === null && shares.every((share) => share >= 0 && share <= 1);
  for (let place = 0; place < places; place++) {
    const own = shares.subarray(place * count, place * count + count);
    if (head.raw && !joined && !told) own.set(probabilities(own, { squashed, paired: false }));
    if (background !== null) own[background] = 0;
  }
  return { shares, places, count };
}

/** Shares behind the four numbers of a box, times the objectness before them where there is one. */
function joinedShares(tensor, { head, classes: known }) {
  const axis = head.joined;
  const end = tensor.dims[axis];
  if (!head.objectness) return table(tensor, axis, BOX, known === null ? end : Math.min(end, BOX + known));
  const told = table(tensor, axis, BOX, end);
  return { places: told.places, count: told.count - 1, at: (place, c) => told.at(place, c + 1) * told.at(place, 0) };
}

/** Place and class of what would be detected, best first: the best class of each place, non-maximum suppression. */
function suppressed({ shares, places, count }, boxes, { confidence, overlap: most, most: many }) {
  const best = Int32Array.from({ length: places }, (_, place) => {
    let index = 0;
    for (let c = 1; c < count; c++) if (shares[place * count + c] > shares[place * count + index]) index = c;
    return index;
  });
  const share = (place) => shares[place * count + best[place]];
  const ranked = Array.from(best, (_, place) => place).filter((place) => share(place) > confidence);
  ranked.sort((a, b) => share(b) - share(a) || a - b);
  const kept = [];
  for (const place of ranked) {
    if (kept.length === many) break;
    const alike = kept.filter((other) => best[other] === best[place]);
    const apart = (other) => overlap(boxAt(boxes, place), boxAt(boxes, other)) <= most;
    if (boxes === null || alike.every(apart)) kept.push(place);
  }
  return kept.map((place) => [place, best[place]]);
}

/** What is detected, best first, by the file itself where it chooses; and the best of each class. */
export function detections(outputs, model, size) {
  const said = sharesOf(outputs, model);
  const { shares, places, count } = said;
  let boxes = boxesOf(outputs, model, size);
  let pairs = null;
  if (model.head.rows !== null) {
    boxes ??= new Float32Array(places * BOX).fill(NaN);
    pairs = rowsOf(outputs, model, size, said, boxes);
    if (boxes.every(Number.isNaN)) boxes = null;
  }
  pairs ??= suppressed(said, boxes, model.reading);
  const sides = (place) => (boxes === null || boxAt(boxes, place).some(Number.isNaN) ? null : [...boxAt(boxes, place)]);
  const told = (place, index) => candidate(place * count + index, index, shares[place * count + index], sides(place));
  const bestOf = (index) => {
    let top = 0;
    for (let place = 1; place < places; place++) {
      if (shares[place * count + index] > shares[top * count + index]) top = place;
    }
    return told(top, index);
  };
  return {
    list: pairs.slice(0, model.reading.most).map(([place, index]) => told(place, index)),
    of: bestOf,
    numbered: (number) => told(Math.floor(number / count), number % count),
  };
}
