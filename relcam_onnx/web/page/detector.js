// What a detector's outputs say: boxes, confidence, and what is left of them by non-maximum suppression, as
// relcam_onnx/runners/found.py has it.

import { candidate, probabilities, softmax } from "./shares.js";

const BOX = 4;

/** A tensor (1, places, numbers), or with both turned: how many of each, and how to read it. */
function table({ dims, data }, axis, from = 0, to = dims[axis]) {
  const turned = axis === 1;
  const places = dims[3 - axis];
  const step = dims[2];
  const at = turned ? (place, i) => data[(from + i) * step + place] : (place, i) => data[place * step + from + i];
  return { places, count: to - from, at };
}

/** What a detector says of each class at each place, 0 to 1, place after place: {shares, places, count}. */
function sharesOf(outputs, model) {
  const { head, squashed, background } = model;
  const boxes = head.boxes;
  const joined = boxes !== null && boxes.outputs.length === 1 && boxes.outputs[0] === head.output;
  const parts = joined
    ? [joinedShares(outputs[head.output], model)]
    : (head.levels.length ? head.levels : [head.output]).map((name) => table(outputs[name], head.axis));
  const count = parts[0].count;
  const places = parts.reduce((sum, part) => sum + part.places, 0);
  const shares = new Float32Array(places * count);
  const raw = !joined && (squashed === null || squashed === "LogSoftmax");
  let row = 0;
  for (const part of parts) {
    for (let place = 0; place < part.places; place++, row++) {
      const values = Float32Array.from({ length: count }, (_, c) => part.at(place, c));
      shares.set(raw ? probabilities(values, { squashed, paired: false }) : values, row * count);
      if (background !== null) shares[row * count + background] = 0;
    }
  }
  return { shares, places, count };
}

/** Shares behind the four numbers of a box, times the objectness before them where there is one. */
function joinedShares(tensor, { head, classes: known }) {
  const { axis } = head.boxes;
  const end = tensor.dims[axis];
  if (!head.objectness) return table(tensor, axis, BOX, known === null ? end : Math.min(end, BOX + known));
  const told = table(tensor, axis, BOX, end);
  return { places: told.places, count: told.count - 1, at: (place, c) => told.at(place, c + 1) * told.at(place, 0) };
}

/** Boxes as left, top, right, bottom in the input's pixels, place after place; null where they are none yet. */
function boxesOf(outputs, model, size) {
  const { boxes } = model.head;
  if (boxes === null) return null;
  const levels = boxes.outputs.map((name) => table(outputs[name], boxes.axis));
  if (boxes.form === "distances") return aroundCells(levels, size, model.reading.strides);
  const { places, at } = levels[0];
  const out = new Float32Array(places * BOX);
  let turned = 0;
  for (let place = 0; place < places; place++) {
    const [a, b, c, d] = [0, 1, 2, 3].map((i) => at(place, i));
    const centred = boxes.form === "centred";
    const sides = centred ? [a - c / 2, b - d / 2, a + c / 2, b + d / 2] : [a, b, c, d];
    turned += (sides[0] > sides[2]) + (sides[1] > sides[3]);
    out.set(sides, place * BOX);
  }
  if (turned / (2 * places) > model.reading.reversed) return null;
  if (areShares(out, model.reading.normalised)) for (let i = 0; i < out.length; i++) out[i] *= size[1 - (i % 2)];
  return out;
}

/** Whether boxes are shares of the picture: three quarters of those that are any lie within so many of it. */
function areShares(boxes, most) {
  const far = [];
  for (let i = 0; i < boxes.length; i += BOX) far.push(Math.max(...boxes.slice(i, i + BOX).map(Math.abs)));
  const some = far.filter((value) => value > 0).sort((a, b) => a - b);
  const at = 0.75 * (some.length - 1);
  const low = some[Math.floor(at)];
  return some.length > 0 && low + (some[Math.ceil(at)] - low) * (at % 1) <= most;
}

/** Boxes by the distances of their sides from the middles of cells, each the mean of a distribution. */
function aroundCells(levels, size, strides) {
  const out = [];
  for (const { places, count, at } of levels) {
    const stride = strides.find((s) => Math.ceil(size[0] / s) * Math.ceil(size[1] / s) === places);
    if (stride === undefined) return null;
    const across = Math.ceil(size[1] / stride);
    const bins = count / BOX;
    for (let place = 0; place < places; place++) {
      const middle = [((place % across) + 0.5) * stride, (Math.floor(place / across) + 0.5) * stride];
      for (let side = 0; side < BOX; side++) {
        const told = softmax(Float32Array.from({ length: bins }, (_, i) => at(place, side * bins + i)));
        const away = told.reduce((sum, share, i) => sum + share * i, 0) * stride;
        out.push(middle[side % 2] + (side < 2 ? -away : away));
      }
    }
  }
  return Float32Array.from(out);
}

function overlap(boxes, a, b) {
  const [p, q] = [a * BOX, b * BOX];
  const side = (i) => Math.min(boxes[p + 2 + i], boxes[q + 2 + i]) - Math.max(boxes[p + i], boxes[q + i]);
  const area = (at) => (boxes[at + 2] - boxes[at]) * (boxes[at + 3] - boxes[at + 1]);
  const inner = Math.max(0, side(0)) * Math.max(0, side(1));
  return inner / Math.max(area(p) + area(q) - inner, 1e-9);
}

/** What is detected, best first: the best class of each place, non-maximum suppression; and the best of each class. */
export function detections(outputs, model, size) {
  const { shares, places, count } = sharesOf(outputs, model);
  const boxes = boxesOf(outputs, model, size);
  const { confidence, overlap: most, most: many } = model.reading;
  const boxAt = (place) => boxes && Array.from(boxes.slice(place * BOX, place * BOX + BOX));
  const told = (place, index) => candidate(place * count + index, index, shares[place * count + index], boxAt(place));
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
    if (boxes === null || alike.every((other) => overlap(boxes, place, other) <= most)) kept.push(place);
  }
  const bestOf = (index) => {
    let top = 0;
    for (let place = 1; place < places; place++) {
      if (shares[place * count + index] > shares[top * count + index]) top = place;
    }
    return told(top, index);
  };
  return {
    list: kept.map((place) => told(place, best[place])),
    of: bestOf,
    numbered: (number) => told(Math.floor(number / count), number % count),
  };
}
