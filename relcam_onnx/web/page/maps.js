// Maps brought back to the picture's pixels, and into colours: relcam_onnx/pictures/geometry.py and results/render.py.

/** Where the pixels of a picture shown `count` long lie among a map's `cells`, on one axis; whether the model saw them. */
function places(axis, count, cells, geometry, told) {
  const stride = told ? told.stride[axis] : geometry.size[axis] / cells;
  const offset = told ? told.offset[axis] : stride / 2 - 0.5;
  const scale = (geometry.scale[axis] * geometry.original[axis]) / count;
  const [low, part, seen] = [new Int32Array(count), new Float32Array(count), new Uint8Array(count)];
  for (let i = 0; i < count; i++) {
    const inside = (i + 0.5) * scale + geometry.offset[axis];
    const cell = Math.min(Math.max((inside - 0.5 - offset) / stride, 0), cells - 1);
    low[i] = Math.floor(cell);
    part[i] = cell - low[i];
    seen[i] = inside >= 0 && inside <= geometry.size[axis] ? 1 : 0;
  }
  return { low, part, seen };
}

/**
 * A map over the model's input as it lies in the picture, resize, crop and padding undone; bilinear.
 * @param map {data, height, width, cells}: cells tell the stride and offset of its positions, or null.
 * @param size [height, width] that the picture is shown at.
 */
export function heat(map, geometry, [height, width]) {
  const rows = places(0, height, map.height, geometry, map.cells);
  const columns = places(1, width, map.width, geometry, map.cells);
  const out = new Float32Array(height * width);
  const line = new Float32Array(map.width);
  for (let y = 0; y < height; y++) {
    if (!rows.seen[y]) continue;
    const above = rows.low[y] * map.width;
    const below = Math.min(rows.low[y] + 1, map.height - 1) * map.width;
    for (let i = 0; i < map.width; i++) {
      line[i] = map.data[above + i] + (map.data[below + i] - map.data[above + i]) * rows.part[y];
    }
    for (let x = 0; x < width; x++) {
      const left = columns.low[x];
      const right = Math.min(left + 1, map.width - 1);
      if (columns.seen[x]) out[y * width + x] = line[left] + (line[right] - line[left]) * columns.part[x];
    }
  }
  return out;
}

function peak(values) {
  let most = 0;
  for (let i = 0; i < values.length; i++) if (values[i] > most) most = values[i];
  return most;
}

/** The colour of each of 256 levels with its opacity, as canvases keep it. */
export function shades({ palette, veil }) {
  const bytes = new Uint8ClampedArray(4 * palette.length);
  palette.forEach((colour, level) => bytes.set([...colour, 255 * veil[level]], 4 * level));
  return new Uint32Array(bytes.buffer);
}

/** A map's positive part in colours, whose opacity grows with the value: an image for a canvas. */
export function coloured(values, [height, width], levels) {
  const share = 255 / (peak(values) || 1);
  const image = new ImageData(width, height);
  const out = new Uint32Array(image.data.buffer);
  for (let i = 0; i < out.length; i++) out[i] = levels[values[i] > 0 ? Math.round(values[i] * share) : 0];
  return image;
}

const ROWS = ["upper", "middle", "lower"];
const COLUMNS = ["left", "centre", "right"];

/** Where a map is strongest, in words: the ninth of the picture that holds most of its positive part. */
export function whereabouts(values, [height, width]) {
  const held = new Float64Array(9);
  let total = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const value = Math.max(0, values[y * width + x]);
      held[3 * Math.floor((3 * y) / height) + Math.floor((3 * x) / width)] += value;
      total += value;
    }
  }
  if (!total) return "nowhere";
  const most = held.indexOf(Math.max(...held));
  return most === 4 ? "in the middle" : `at the ${ROWS[Math.floor(most / 3)]} ${COLUMNS[most % 3]}`;
}
