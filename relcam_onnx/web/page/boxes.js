// A detector's boxes, as left, top, right and bottom in the input's pixels, from the forms in which files tell them, as
// relcam_onnx/runners/boxes.py has it.

import { softmax } from "./shares.js";

export const BOX = 4;

/** A tensor (1, places, numbers), or with both turned, or (1, places): how many of each, and how to read it. */
export function table({ dims, data }, axis, from = 0, to = dims[axis] ?? 1) {
  const turned = axis === 1;
  const places = dims[3 - axis];
  const step = dims[2] ?? 1;
  // Whole numbers may come as BigInt.
  const at = (place, i) => Number(data[turned ? (from + i) * step + place : place * step + from + i]);
  return { places, count: to - from, at };
}

/** Boxes as left, top, right, bottom in the input's pixels, place after place; null where they are none yet. */
export function boxesOf(outputs, model, size) {
  const { boxes } = model.head;
  if (boxes === null) return null;
  const levels = boxes.outputs.map((name) => table(outputs[name], boxes.axis));
  if (["distances", "offsets", "sizes"].includes(boxes.form)) {
    const around = boxes.form === "distances" ? aroundCells : inCells;
    const found = levels.map((level) => around(level, size, model.reading, boxes.form));
    if (found.includes(null)) return null;
    const all = Float32Array.from(found.flatMap((each) => [...each]));
    return turnedRound(all) > model.reading.fewReversed ? null : all;
  }
  return corners(levels[0], formOf(levels[0], boxes.form, model.reading), size, model.reading, yFirst(outputs, model));
}

/** The form of boxes: of those joined with scores corners where they end behind beginnings, else centre and size. */
function formOf(level, form, { fewReversed }) {
  if (form !== "joined") return form;
  const all = Float32Array.from({ length: level.places * BOX }, (_, i) => level.at(Math.floor(i / BOX), i % BOX));
  return turnedRound(all) <= fewReversed ? "corners" : "centred";
}

/**
 * Boxes of one table that tells them by corners, by centre and size, or turned; of the former y may come first.
 *
 * @param pixels What a unit is across and down; null: values tell whether they are shares.
 */
export function corners(level, form, size, { reversed, normalised }, first, pixels = null) {
  let out = new Float32Array(level.places * BOX);
  for (let place = 0; place < level.places; place++) {
    const told = form === "turned" ? unturned(level, place) : numbers(level, place);
    out.set(first && form !== "turned" ? [told[1], told[0], told[3], told[2]] : told, place * BOX);
  }
  // Where ends come before beginnings and nothing is negative, those are sizes.
  const sizes = form === "corners" && out.every((side) => side >= 0) && turnedRound(out) > reversed;
  if (form !== "corners" || sizes) out = aroundMiddles(out);
  if (turnedRound(out) > reversed) return null;
  const unit = pixels ?? (areShares(out, normalised) ? [size[1], size[0]] : [1, 1]);
  for (let i = 0; i < out.length; i++) out[i] *= unit[i % 2];
  return out;
}

/** Whether boxes tell y before x: as the graph tells, else by where those of all places lie. */
export function yFirst(outputs, { head: { boxes }, reading }) {
  if (boxes === null) return false;
  if (boxes.y_first !== null) return boxes.y_first;
  const level = table(outputs[boxes.outputs[0]], boxes.axis);
  return tellsYFirst(level, formOf(level, boxes.form, reading), reading) ?? false;
}

/** What the order of places says of that, in which x changes and y does not; null where it says nothing. */
function tellsYFirst(level, form, { apart, fewPlaces, noise }) {
  if (form !== "corners" && form !== "centred") return false;
  const { places } = level;
  if (places < fewPlaces) return null;
  let noisy = false;
  const [first, second] = [0, 1].map((side) => {
    const middle = (_, place) => level.at(place, side) + (form === "corners" ? level.at(place, side + 2) : 0);
    const all = Float64Array.from({ length: places }, middle);
    const mean = all.reduce((sum, value) => sum + value, 0) / places;
    const spread = all.reduce((sum, value) => sum + (value - mean) ** 2, 0) / places;
    const steps = all.subarray(1).map((value, i) => Math.abs(value - all[i])).sort();
    const middles = [steps[(places - 2) >> 1], steps[(places - 1) >> 1]];
    noisy ||= (middles[0] + middles[1]) / 2 > noise * Math.sqrt(spread);
    let changes = 0;
    for (let k = 1; (2 * k) ** 2 <= places; k *= 2) {
      changes += all.subarray(k).reduce((sum, value, i) => sum + (value - all[i]) ** 2, 0) / (places - k);
    }
    return changes / spread;
  });
  const clear = Math.max(first, second) > apart * Math.min(first, second); // NaN where there is no spread
  return clear && !noisy ? first < second : null;
}

const numbers = ({ at }, place) => [at(place, 0), at(place, 1), at(place, 2), at(place, 3)];

/** How many boxes that are any end before they begin. */
function turnedRound(boxes) {
  let [found, some] = [0, 0];
  for (let i = 0; i < boxes.length; i += BOX) {
    found += (boxes[i] > boxes[i + 2]) + (boxes[i + 1] > boxes[i + 3]);
    some += boxes.subarray(i, i + BOX).some(Boolean);
  }
  return found / Math.max(2 * some, 1);
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

/**
 * The cells of so many places, of one level or of several in rows: how far right and down, and their stride.
 *
 * In each stand as few places as fit, and so many at most; null where that fits nothing.
 */
function cellsIn(places, size, strides, most = 1) {
  const count = (some) => some.map((s) => cells(s, size)).reduce((sum, [down, across]) => sum + down * across, 0);
  const runs = strides.flatMap((_, i) => strides.slice(i).map((__, j) => strides.slice(i, i + j + 1)));
  for (let several = 1; several <= most; several++) {
    const fitting = runs.find((run) => several * count(run) === places);
    if (!fitting) continue;
    return fitting.flatMap((stride) => {
      const [down, across] = cells(stride, size);
      return Array.from({ length: several * down * across }, (_, i) => {
        const cell = Math.floor(i / several);
        return { x: cell % across, y: Math.floor(cell / across), stride };
      });
    });
  }
  return null;
}

/** Boxes by offsets of their centres from the corners of cells, and their sizes or logarithms of them, all in cells. */
function inCells(level, size, { strides }, form) {
  const found = cellsIn(level.places, size, strides);
  if (found === null) return null;
  const out = new Float32Array(level.places * BOX);
  found.forEach(({ x, y, stride }, place) => {
    const [right, below, width, height] = numbers(level, place);
    const extent = [width, height].map((side) => (form === "sizes" ? side : Math.exp(side)));
    const sides = [x + right, y + below, ...extent];
    out.set(sides.map((side) => side * stride), place * BOX);
  });
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

/** Boxes by the distances of their sides from the middles of cells, each a number or the mean of a distribution. */
function aroundCells({ places, count, at }, size, { strides, mostInCell }) {
  const found = cellsIn(places, size, strides, mostInCell);
  if (found === null) return null;
  const bins = count / BOX;
  const out = new Float32Array(places * BOX);
  found.forEach(({ x, y, stride }, place) => {
    for (let side = 0; side < BOX; side++) {
      const told = Float32Array.from({ length: bins }, (_, i) => at(place, side * bins + i));
      const mean = bins === 1 ? told[0] : softmax(told).reduce((sum, share, i) => sum + share * i, 0);
      out[place * BOX + side] = ([x, y][side % 2] + 0.5 + (side < 2 ? -mean : mean)) * stride;
    }
  });
  return out;
}

/** Intersection over union of two boxes. */
export function overlap(p, q) {
  const side = (i) => Math.min(p[2 + i], q[2 + i]) - Math.max(p[i], q[i]);
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  const inner = Math.max(0, side(0)) * Math.max(0, side(1));
  return inner / Math.max(area(p) + area(q) - inner, 1e-9);
}

/** One of many boxes that stand one behind the other. */
export const boxAt = (boxes, place) => boxes.subarray(place * BOX, place * BOX + BOX);
