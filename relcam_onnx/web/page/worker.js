// The model at work, beside the page so that it stays responsive: a picture in, maps and what the model says out.

import { candidatesOf, doubt, margin, scoresAt } from "./heads.js";
import { layOut, prepare, shrinking, shrunk } from "./preprocess.js";

const MOST_THREADS = 4; // more gain nothing for one small picture
const RUNTIMES = {
  webgpu: { script: "gpu.js", mjs: "gpu-wasm.js", wasm: "gpu-wasm.wasm" },
  wasm: { script: "ort.js", mjs: "ort-wasm.js", wasm: "ort-wasm.wasm" },
};

let model, ort, session, prepared, said;

/** What can run the model here, the best first. */
async function kinds() {
  const gpu = model.webgpu && "Suspending" in WebAssembly && (await navigator.gpu?.requestAdapter());
  return gpu ? ["webgpu", "wasm"] : ["wasm"];
}

/** A session; threads need memory that workers share, which browsers allow only on isolated pages: see isolation.js. */
async function open(data, kind) {
  const { script, mjs, wasm } = RUNTIMES[kind];
  const here = (name) => new URL(`./runtime/${name}`, import.meta.url).href;
  ort = await import(here(script));
  ort.env.logLevel = "error";
  ort.env.wasm.wasmPaths = { mjs: here(mjs), wasm: here(wasm) };
  const threads = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
  ort.env.wasm.numThreads = threads;
  session = await ort.InferenceSession.create(data, { executionProviders: [kind], logSeverityLevel: 3 });
  return kind === "webgpu" ? "WebGPU" : `${threads === 1 ? "One thread" : `${threads} threads`} of WebAssembly`;
}

/** The model's file, told of as it comes. */
async function download(address, bytes) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`The server does not have ${address} (${answer.status}).`);
  const data = new Uint8Array(bytes);
  const reader = answer.body.getReader();
  for (let at = 0; ; ) {
    const { done, value } = await reader.read();
    if (done) return data.subarray(0, at);
    if (at + value.length > bytes) throw new Error(`The server has another ${address}: make the site anew.`);
    data.set(value, at);
    at += value.length;
    postMessage({ kind: "loading", share: at / bytes });
  }
}

async function start(description) {
  model = description;
  const data = await download("model.onnx", model.bytes);
  postMessage({ kind: "starting" });
  let failure;
  for (const kind of await kinds()) {
    try {
      return postMessage({ kind: "ready", how: await open(data, kind) });
    } catch (error) {
      failure = error; // a GPU that cannot do it leaves it to the processor
    }
  }
  throw failure;
}

/** The pixels of a picture, on white unless the model takes opacity. */
function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  const canvas = new OffscreenCanvas(width, height);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  if (!model.preprocess.channels.endsWith("A")) {
    pen.fillStyle = "white";
    pen.fillRect(0, 0, width, height);
  }
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  return pen.getImageData(0, 0, width, height);
}

function take(bitmap) {
  const image = pixelsOf(bitmap);
  const original = [image.height, image.width];
  const factor = shrinking(original, layOut(original, model.preprocess).resized);
  const { array, dims, geometry } = prepare(shrunk(image, factor), original, model.preprocess);
  const { name, dtype, batch } = model.input;
  const filled = new array.constructor(array.length * batch);
  for (let i = 0; i < batch; i++) filled.set(array, i * array.length);
  prepared = { feeds: { [name]: new ort.Tensor(dtype, filled, [batch, ...dims]) }, geometry };
  said = null;
}

async function run(number) {
  const { targets, target } = model.outputs;
  const numbers = new BigInt64Array(model.input.batch).fill(BigInt(number));
  const outputs = await session.run({
    ...prepared.feeds,
    [targets]: new ort.Tensor("int64", numbers, [numbers.length, 1]),
  });
  said ??= candidatesOf(outputs, model, prepared.geometry.size);
  return { outputs, number: Number(outputs[target].data[0]) };
}

/** A map of the first image, (1, 1[, C], h, w): channels summed. */
function mapOf({ name, title, output, cells }, outputs) {
  const { dims, data } = outputs[output];
  const [height, width] = dims.slice(-2);
  const channels = dims.length === 5 ? dims[2] : 1;
  const plane = data.slice(0, height * width);
  for (let c = 1; c < channels; c++) {
    for (let i = 0; i < plane.length; i++) plane[i] += data[c * plane.length + i];
  }
  if (!plane.every(Number.isFinite)) throw new Error("The model's values overflow on this picture.");
  return { name, title, data: plane, height, width, cells };
}

/** A box of the model's input as it lies in the picture, in shares of its width and height. */
function inPicture(one, { offset, scale, original }) {
  if (!one.box) return one;
  const box = one.box.map((side, i) => {
    const axis = 1 - (i % 2);
    return Math.min(Math.max((side - offset[axis]) / scale[axis] / original[axis], 0), 1);
  });
  return { ...one, box };
}

/** Explain the best of a picture, a target by its number, or a class. */
async function explain({ number, index }) {
  let wanted = number ?? (index === undefined ? -1 : said.of(index).number);
  let told = await run(wanted);
  // A detector's best detection need not be what its file ranks first.
  const best = said.list[0];
  if (wanted === -1 && best && best.number !== told.number) told = await run(best.number);
  const { geometry } = prepared;
  const target = said.numbered(told.number);
  const scores = scoresAt(told.outputs, model);
  const ahead = margin(scores, target.index, model);
  const maps = model.maps.map((map) => mapOf(map, told.outputs));
  const answer = {
    target: inPicture(target, geometry),
    candidates: said.list.map((one) => inPicture(one, geometry)),
    margin: ahead,
    doubt: doubt(scores, target, ahead, model),
    maps,
    geometry,
  };
  return { answer, buffers: maps.map((map) => map.data.buffer) };
}

/** One request after another; a request that a newer one of its kind has overtaken is left out. */
let line = Promise.resolve();
let newest = 0;

onmessage = ({ data }) => {
  newest = data.id;
  line = line.then(async () => {
    try {
      if (data.kind === "start") return await start(data.description);
      if (data.bitmap) take(data.bitmap);
      if (data.id !== newest) return;
      const { answer, buffers } = await explain(data);
      postMessage({ kind: "explained", id: data.id, ...answer }, buffers);
    } catch (error) {
      postMessage({ kind: "failed", id: data.id, message: String(error.message ?? error) });
    }
  });
};
