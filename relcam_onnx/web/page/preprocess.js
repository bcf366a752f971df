// How a picture's pixels become the array that the model takes: what relcam_onnx/pictures/preprocess.py does, roundings
// included, so that the page explains the same numbers as Python.

import { resize } from "./resample.js";

const MOST_PIXELS = 2 ** 27;
const FINER = 2; // pixels for each one that the model takes, so many are left for the filter to smooth

/** Round halves to even numbers, as Python does. */
export function roundEven(x) {
  const down = Math.floor(x);
  if (x - down !== 0.5) return Math.round(x);
  return down % 2 === 0 ? down : down + 1;
}

/** Where a picture of [height, width] comes to lie in the model's input, and what it is resized to. */
export function layOut(original, { size, resize, resize_size: to }) {
  const [height, width] = original;
  let resized = original;
  if (resize === "squash" && to !== null) {
    resized = Array.isArray(to) ? to : [to, to];
  } else if (resize === "shorter" && to !== null) {
    resized = withShorter(original, ...[to].flat());
  } else if (resize === "squash") {
    resized = size;
  } else {
    const ratios = [size[0] / height, size[1] / width];
    const ratio = resize === "shorter" ? Math.max(...ratios) : Math.min(...ratios);
    resized = [Math.max(1, roundEven(height * ratio)), Math.max(1, roundEven(width * ratio))];
  }
  if (resized[0] * resized[1] > MOST_PIXELS) {
    throw new Error(`A picture of ${width}×${height} pixels is too long and thin for this model: crop it first.`);
  }
  return {
    original,
    size,
    resized,
    scale: [resized[0] / height, resized[1] / width],
    offset: [centred(size[0], resized[0]), centred(size[1], resized[1])],
  };
}

/** Height and width with the shorter side so long, and the longer one, rounded down, no longer than `most`. */
function withShorter(original, edge, most = Infinity) {
  const [shorter, longer] = [Math.min(...original), Math.max(...original)];
  if (edge * longer <= most * shorter) {
    return original.map((side) => (side === shorter ? edge : Math.floor((edge * side) / shorter)));
  }
  return original.map((side) => (side === shorter ? roundEven((most * shorter) / longer) : most));
}

function centred(outer, inner) {
  return outer >= inner ? Math.floor((outer - inner) / 2) : -roundEven((inner - outer) / 2);
}

/** By how much a picture can be shrunk beforehand: 1, 2, 4 or 8, as JPEG files are decoded in Python. */
export function shrinking(original, resized) {
  const enough = (factor) => original.every((length, axis) => length / factor >= FINER * resized[axis]);
  return [8, 4, 2].find(enough) ?? 1;
}

/** Means of factor × factor pixels; what is left over at the right and below is a mean of fewer. */
export function shrunk(image, factor) {
  if (factor === 1) return image;
  const width = Math.ceil(image.width / factor);
  const height = Math.ceil(image.height / factor);
  const data = new Uint8ClampedArray(width * height * 4);
  for (let y = 0, at = 0; y < height; y++) {
    const bottom = Math.min((y + 1) * factor, image.height);
    for (let x = 0; x < width; x++, at += 4) {
      const right = Math.min((x + 1) * factor, image.width);
      let [r, g, b, a] = [0, 0, 0, 0];
      for (let row = y * factor; row < bottom; row++) {
        for (let from = (row * image.width + x * factor) * 4; from < (row * image.width + right) * 4; from += 4) {
          r += image.data[from];
          g += image.data[from + 1];
          b += image.data[from + 2];
          a += image.data[from + 3];
        }
      }
      const count = (bottom - y * factor) * (right - x * factor);
      data[at] = r / count;
      data[at + 1] = g / count;
      data[at + 2] = b / count;
      data[at + 3] = a / count;
    }
  }
  return { data, width, height };
}

/** The channels of RGBA pixels that a model wants, one after another for each pixel: 1, 3 or 4. */
function channelsOf({ data, width, height }, channels) {
  const count = channels.length;
  const out = new Uint8ClampedArray(width * height * count);
  for (let from = 0, to = 0; from < data.length; from += 4, to += count) {
    if (count === 1) {
      out[to] = (19595 * data[from] + 38470 * data[from + 1] + 7471 * data[from + 2] + 32768) >> 16;
    } else {
      for (let c = 0; c < count; c++) out[to + c] = data[from + c];
    }
  }
  return { data: out, width, height, count };
}

const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  uint8: Uint8Array,
  int8: Int8Array,
  int32: Int32Array,
  int64: BigInt64Array,
};
const LIMITS = { uint8: [0, 255], int8: [-128, 127], int32: [-(2 ** 24), 2 ** 24], int64: [-(2 ** 24), 2 ** 24] };

/** What each of the 256 pixel values becomes in each channel of the model. */
function tableOf({ scale, mean, std, dtype }) {
  const limits = LIMITS[dtype];
  return mean.map((middle, c) =>
    Array.from({ length: 256 }, (_, value) => {
      const scaled = Math.fround(value * Math.fround(scale));
      const number = Math.fround(Math.fround(scaled - Math.fround(middle)) / Math.fround(std[c]));
      if (!limits) return number;
      const whole = Math.min(Math.max(roundEven(number), limits[0]), limits[1]);
      return dtype === "int64" ? BigInt(whole) : whole;
    }),
  );
}

/**
 * The model's array of one picture.
 * @param image RGBA pixels: {data, width, height}, perhaps shrunk.
 * @param original The picture's own [height, width].
 * @param how The fields of a Preprocess.
 * @returns {array, dims, geometry}, dims without the batch.
 */
export function prepare(image, original, how) {
  const geometry = layOut(original, how);
  const [height, width] = geometry.size;
  const [top, left] = geometry.offset;
  const resized = resize(channelsOf(image, how.channels), geometry.resized, how.interpolation);
  const count = how.channels.length;
  const order = how.channels.startsWith("BGR") ? [2, 1, 0, 3] : [0, 1, 2, 3];
  const table = tableOf(how);
  const array = new ARRAYS[how.dtype](height * width * count);
  const last = how.layout === "NHWC";
  const [alongRow, ofChannel] = last ? [count, 1] : [1, height * width];
  // What of the input the picture covers; the rest is padding.
  const [first, end] = [Math.max(0, left), Math.min(width, left + resized.width)];
  for (let c = 0; c < count; c++) {
    const values = table[c];
    const padding = values[how.pad_value];
    for (let y = 0; y < height; y++) {
      const row = y - top;
      const inside = row >= 0 && row < resized.height;
      let at = c * ofChannel + y * width * alongRow;
      const from = (row * resized.width - left) * count + order[c];
      for (let x = 0; x < width; x++, at += alongRow) {
        array[at] = inside && x >= first && x < end ? values[resized.data[from + x * count]] : padding;
      }
    }
  }
  return { array, dims: last ? [height, width, count] : [count, height, width], geometry };
}
