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
      const values = Float32Array.from({ length: count }, (_, c) => part.at(place, c));
      const raw = head.raw && !joined;
      shares.set(raw ? probabilities(values, { squashed, paired: false }) : values, row * count);
      if (background !== null) shares[row * count + background] = 0;
    }
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

/** Boxes as left, top, right, bottom in the input's pixels, place after place; null where they are none yet. */
export function boxesOf(outputs, model, size) {
  const { boxes } = model.head;
  if (boxes === null) return null;
  const { strides, reversed, normalised } = model.reading;
  const levels = boxes.outputs.map((name) => table(outputs[name], boxes.axis));
  if (boxes.form === "distances") return aroundCells(levels, size, strides);
  if (boxes.form === "offsets") return inCells(levels[0], size, strides);
  let out = new Float32Array(levels[0].places * BOX);
  for (let place = 0; place < levels[0].places; place++) {
    out.set(boxes.form === "turned" ? unturned(levels[0], place) : numbers(levels[0], place), place * BOX);
  }
  // Where ends come before beginnings and nothing is negative, those are sizes.
  const sizes = boxes.form === "corners" && out.every((side) => side >= 0) && turnedRound(out) > reversed;
  if (boxes.form !== "corners" || sizes) out = aroundMiddles(out);
  if (turnedRound(out) > reversed) return null;
  if (areShares(out, normalised)) for (let i = 0; i < out.length; i++) out[i] *= size[1 - (i % 2)];
  return out;
}

const numbers = ({ at }, place) => [at(place, 0), at(place, 1), at(place, 2), at(place, 3)];

/** How many boxes end before they begin. */
function turnedRound(boxes) {
  let found = 0;
  for (let i = 0; i < boxes.length; i += BOX) found += (boxes[i] > boxes[i + 2]) + (boxes[i + 1] > boxes[i + 3]);
  return found / Math.max(boxes.length / 2, 1);
}

/** Boxes told by centre and size by their corners. */
function aroundMiddles(boxes) {
  return boxes.map((_, i) => {
    const at = i - (i % BOX) + (i % 2);
    return boxes[at] + (i % BOX < 2 ? -1 : 1) * (boxes[at + 2] / 2);
  });
}

/** Centre and size of what encloses a box that is turned by the angle in the last column. */
function unturned(level, place) {
  const [x, y, width, height] = numbers(level, place);
  const angle = level.at(place, level.count - 1);
  const [across, down] = [Math.abs(Math.cos(angle)), Math.abs(Math.sin(angle))];
  return [x, y, width * across + height * down, width * down + height * across];
}

const cells = (stride, size) => size.map((side) => Math.ceil(side / stride));

/** Boxes by offsets of their centres from the corners of cells, and the logarithms of their sizes, both in cells. */
function inCells(level, size, strides) {
  const count = (some) => some.map((s) => cells(s, size)).reduce((sum, [down, across]) => sum + down * across, 0);
  const runs = strides.flatMap((_, i) => strides.slice(i).map((__, j) => strides.slice(i, i + j + 1)));
  const fitting = runs.find((run) => count(run) === level.places);
  if (!fitting) return null;
  const out = new Float32Array(level.places * BOX);
  let place = 0;
  for (const stride of fitting) {
    const [down, across] = cells(stride, size);
    for (let cell = 0; cell < down * across; cell++, place++) {
      const [x, y, width, height] = numbers(level, place);
      const centre = [(x + (cell % across)) * stride, (y + Math.floor(cell / across)) * stride];
      out.set([...centre, Math.exp(width) * stride, Math.exp(height) * stride], place * BOX);
    }
  }
  return aroundMiddles(out);
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
    const stride = strides.find((s) => cells(s, size)[0] * cells(s, size)[1] === places);
    if (stride === undefined) return null;
    const across = cells(stride, size)[1];
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
