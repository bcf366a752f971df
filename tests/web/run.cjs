// Runs compiled models in onnxruntime's web build: node run.cjs JOB.json, where NODE_PATH leads to onnxruntime-web.
// JOB: {model, inputs: [{name, type, dims, file}], out}; tensors lie in files as raw little-endian values. Writes
// OUT/outputs.json, [{name, type, dims, file}], and a file for each output.
const fs = require("node:fs");
const path = require("node:path");
const ort = require("onnxruntime-web");

const KINDS = { float32: Float32Array, int64: BigInt64Array };

function read({ type, dims, file }) {
  const bytes = fs.readFileSync(file);
  const copy = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
  return new ort.Tensor(type, new KINDS[type](copy), dims);
}

async function main() {
  const job = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
  ort.env.wasm.numThreads = 1;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(fs.readFileSync(job.model), { executionProviders: ["wasm"] });
  const feeds = Object.fromEntries(job.inputs.map((input) => [input.name, read(input)]));
  const found = await session.run(feeds);
  const outputs = session.outputNames.map((name, index) => {
    const { type, dims, data } = found[name];
    const file = path.join(job.out, `${index}.bin`);
    fs.writeFileSync(file, Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    return { name, type, dims, file };
  });
  fs.writeFileSync(path.join(job.out, "outputs.json"), JSON.stringify(outputs));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
