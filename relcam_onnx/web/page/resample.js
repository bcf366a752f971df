// Pictures resized as Pillow resizes them: its filters, with weights in whole numbers, and rounded between the axes.

const PRECISION = 22; // bits of a filter's weights

const bilinear = (x) => Math.max(0, 1 - Math.abs(x));
const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

function bicubic(x) {
  const a = -0.5;
  const d = Math.abs(x);
  if (d < 1) return ((a + 2) * d - (a + 3)) * d * d + 1;
  return d < 2 ? (((d - 5) * d + 8) * d - 4) * a : 0;
}

const FILTERS = {
  bilinear: { weight: bilinear, support: 1 },
  bicubic: { weight: bicubic, support: 2 },
  lanczos: { weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0), support: 3 },
};

/** The weights of each place in a row of `out`: which of `length` places it reads, and how much of each. */
function weightsOf(length, out, { weight, support }) {
  const scale = length / out;
  const wide = Math.max(scale, 1);
  return Array.from({ length: out }, (_, place) => {
    const middle = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(middle - support * wide + 0.5));
    const last = Math.min(length, Math.trunc(middle + support * wide + 0.5));
    const parts = Array.from({ length: last - first }, (_, i) => weight((i + first - middle + 0.5) / wide));
    const sum = parts.reduce((a, b) => a + b, 0) || 1;
    const whole = parts.map((part) => Math.trunc((part / sum) * 2 ** PRECISION + (part < 0 ? -0.5 : 0.5)));
    return { first, whole: Int32Array.from(whole) };
  });
}

/** Resize along one axis: `outer` runs of `length` steps, each of `inner` values, become `out` steps long. */
function along(data, outer, length, inner, out, filter) {
  const result = new Uint8ClampedArray(outer * out * inner);
  const table = weightsOf(length, out, filter);
  for (let place = 0; place < out; place++) {
    const { first, whole } = table[place];
    const taps = whole.length;
    for (let run = 0; run < outer; run++) {
      const from = (run * length + first) * inner;
      const to = (run * out + place) * inner;
      for (let i = 0; i < inner; i++) {
        let sum = 1 << (PRECISION - 1);
        for (let k = 0, at = from + i; k < taps; k++, at += inner) sum = (sum + Math.imul(data[at], whole[k])) | 0;
        result[to + i] = sum >> PRECISION;
      }
    }
  }
  return result;
}

/** Which of `length` places each of `out` reads: added up step by step, as Pillow does, so that ties fall alike. */
function nearestPlaces(length, out) {
  const step = length / out;
  const places = new Int32Array(out);
  for (let place = 0, at = step / 2; place < out; place++, at += step) places[place] = Math.floor(at);
  return places;
}

function nearest({ data, width, height, count }, [down, across]) {
  const out = new Uint8ClampedArray(down * across * count);
  const [rows, columns] = [nearestPlaces(height, down), nearestPlaces(width, across)];
  let to = 0;
  for (const row of rows) {
    for (const column of columns) {
      for (let c = 0; c < count; c++) out[to++] = data[(row * width + column) * count + c];
    }
  }
  return { data: out, width: across, height: down, count };
}

/** What lies under opacity counts by it. */
function premultiplied({ data }) {
  for (let i = 0; i < data.length; i += 4) {
    for (let c = 0; c < 3; c++) {
      const product = data[i + c] * data[i + 3] + 128;
      data[i + c] = ((product >> 8) + product) >> 8;
    }
  }
}

function unpremultiplied({ data }) {
  for (let i = 0; i < data.length; i += 4) {
    const opacity = data[i + 3];
    for (let c = 0; c < 3 && opacity % 255; c++) data[i + c] = Math.min(255, Math.trunc((255 * data[i + c]) / opacity));
  }
}

/**
 * Pixels at another height and width by one of Pillow's filters: first along the rows, then along the columns. (Newer
 * versions of Pillow turn that round for some sizes, which rounds a pixel here and there the other way.)
 */
export function resize(pixels, [down, across], interpolation) {
  const { width, height, count } = pixels;
  if (width === across && height === down) return pixels;
  if (interpolation === "nearest") return nearest(pixels, [down, across]);
  const filter = FILTERS[interpolation];
  if (count === 4) premultiplied(pixels);
  let { data } = pixels;
  if (width !== across) data = along(data, height, width, count, across, filter);
  if (height !== down) data = along(data, 1, height, across * count, down, filter);
  const resized = { data, width: across, height: down, count };
  if (count === 4) unpremultiplied(resized);
  return resized;
}
