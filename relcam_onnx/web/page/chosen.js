// Detections that a file chooses itself: which place and class each of its rows is, found again by the row's score, as
// relcam_onnx/runners/matching.py has it.

import { BOX, boxAt, corners, overlap, yFirst } from "./boxes.js";

/** Some columns of an output, of the first image: how many rows, and how to read them. */
function columns({ dims, data }, { first, width }) {
  const step = width === 0 ? 1 : dims.at(-1);
  const rows = width === 0 ? dims.at(-1) : dims.at(-2);
  return { rows, at: (row, i) => Number(data[row * step + first + i]) };
}

/**
 * Place and class of each row, best first; null where their scores are other ones than the table's.
 * @param said What the table says, {shares, places, count}.
 * @param boxes Of its places; those of rows become what the file tells.
 */
export function rowsOf(outputs, model, size, said, boxes) {
  const { rows: told } = model.head;
  const sides = columns(outputs[told.boxes.output], told.boxes);
  const marks = columns(outputs[told.scores.output], told.scores);
  const wanted = (row) => marks.at(row, 0) > model.reading.confidence;
  const level = { places: marks.rows, count: BOX, at: (row, i) => (wanted(row) ? sides.at(row, i) : 0) };
  const first = told.y_first ?? yFirst(outputs, model);
  const framed = told.form === "turned" ? null : corners(level, told.form, size, model.reading, first, told.pixels);
  const left = Float32Array.from(said.shares);
  const found = [];
  let asked = false;
  for (let row = 0; row < marks.rows; row++) {
    if (!wanted(row)) continue;
    asked = true;
    const box = framed === null ? null : boxAt(framed, row);
    const at = nearest(left, said.count, boxes, marks.at(row, 0), box, model.reading);
    if (at === null) continue;
    const place = Math.floor(at / said.count);
    found.push([place, at % said.count]);
    left[at] = NaN; // a row each
    if (box !== null) boxes.set(box, place * BOX);
  }
  const share = ([place, index]) => said.shares[place * said.count + index];
  return asked && found.length === 0 ? null : found.sort((a, b) => share(b) - share(a));
}

/** Where in the table the share nearest to a row's is, of several alike the one whose box fits; or null. */
function nearest(shares, count, boxes, mark, box, { same, alike }) {
  let least = Infinity;
  for (const share of shares) if (Math.abs(share - mark) < least) least = Math.abs(share - mark);
  if (!(least <= same)) return null;
  let best = null;
  let most = -1;
  for (let at = 0; at < shares.length; at++) {
    if (!(Math.abs(shares[at] - mark) <= least + alike)) continue;
    const fit = box === null ? 0 : overlap(box, boxAt(boxes, Math.floor(at / count)));
    if ((Number.isNaN(fit) ? 0 : fit) > most) [best, most] = [at, Number.isNaN(fit) ? 0 : fit];
  }
  return best;
}
