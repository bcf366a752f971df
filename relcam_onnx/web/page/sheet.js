// A sheet of all maps as one picture: titles above, a row a target with its caption; as relcam_onnx/results/sheet.py.

import { shades } from "./maps.js";
import { paint } from "./view.js";
import { caption } from "./words.js";

const [AREA, LONGEST, NARROWEST] = [220 ** 2, 440, 120]; // of a panel
const [MARGIN, GAP, TEXT, LINE] = [14, 8, 19, 28];
const [PAPER, INK, FAINT] = ["#ffffff", "#111111", "#555555"];
const QUALITY = 0.9;

/** A panel's [height, width] for a picture of these: one area, whatever the shape, but no side too long. */
function fitted([height, width]) {
  const scale = Math.min(Math.sqrt(AREA / (height * width)), LONGEST / Math.max(height, width));
  return [height, width].map((length) => Math.max(1, Math.round(scale * length)));
}

/**
 * Draw a sheet.
 * @param picture A canvas with the picture.
 * @param rows What was explained, each with its maps.
 * @returns A promise of a JPEG file.
 */
export function sheet(picture, name, rows, model) {
  const [height, width] = fitted([picture.height, picture.width]);
  const step = Math.max(width, NARROWEST) + GAP;
  const titles = [name, ...model.maps.map(({ title }) => title)];
  const canvas = document.createElement("canvas");
  canvas.width = 2 * MARGIN + step * titles.length - GAP;
  canvas.height = 2 * MARGIN + LINE + (LINE + height + GAP) * rows.length - GAP;
  const pen = canvas.getContext("2d");
  pen.fillStyle = PAPER;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.font = `${TEXT - 3}px system-ui, sans-serif`;
  pen.textBaseline = "top";
  pen.imageSmoothingQuality = "high";
  titles.forEach((title, column) => write(pen, title, MARGIN + step * column, MARGIN, step - GAP, FAINT));
  rows.forEach((explained, number) => {
    const top = MARGIN + LINE + (LINE + height + GAP) * number;
    write(pen, caption(explained, model), MARGIN, top, canvas.width - 2 * MARGIN, INK);
    titles.forEach((_, column) => {
      const [x, y] = [MARGIN + step * column, top + LINE];
      pen.drawImage(picture, x, y, width, height);
      if (column) lay(pen, explained, column - 1, x, y, [height, width], model);
      if (explained.target.box) outline(pen, explained.target.box, x, y, width, height);
    });
  });
  return new Promise((done) => canvas.toBlob(done, "image/jpeg", QUALITY));
}

/** A line of text; what is too long for the width loses its middle, since names differ at both ends. */
function write(pen, text, x, y, width, colour) {
  let [line, half] = [text, Math.floor(text.length / 2)];
  while (half > 1 && pen.measureText(line).width > width) {
    half -= 1;
    line = `${text.slice(0, half)}…${text.slice(-half)}`;
  }
  pen.fillStyle = colour;
  pen.fillText(line, x, y);
}

function lay(pen, explained, map, x, y, size, model) {
  const layer = document.createElement("canvas");
  paint(layer, explained.maps[map], explained.geometry, size, shades(model));
  pen.globalAlpha = explained.doubt ? model.opacity.faint : model.opacity.most;
  pen.drawImage(layer, x, y);
  pen.globalAlpha = 1;
}

/** A box: white within black, seen on any ground. */
function outline(pen, [left, top, right, bottom], x, y, width, height) {
  [INK, PAPER, INK].forEach((colour, inset) => {
    pen.strokeStyle = colour;
    const sides = [left * width, top * height, (right - left) * width, (bottom - top) * height];
    pen.strokeRect(x + sides[0] + inset + 0.5, y + sides[1] + inset + 0.5, sides[2] - 2 * inset - 1, sides[3] - 2 * inset - 1);
  });
}
