// Write the heat map of a photograph, from a file of `relcam compile --heatmap`, with onnxruntime-node alone:
//   node heatmap.cjs explained.onnx photograph.ppm heat.pgm [target]
// The photograph is a binary PPM of the size that the model takes; the target a class, or a rank: -1, the default, is
// the top class. MEAN and STD are what the model takes, here those of models/efficientnet-lite0.onnx.
const fs = require("node:fs");
const ort = require("onnxruntime-node");

const [MEAN, STD] = [127, 128];

function pixels(file) {
  const bytes = fs.readFileSync(file);
  const header = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(bytes.toString("latin1", 0, 100));
  if (!header) throw new Error(`${file} is no binary PPM of 8 bits`);
  const [width, height] = [Number(header[1]), Number(header[2])];
  const values = bytes.subarray(header[0].length);
  if (values.length < 3 * width * height) throw new Error(`${file} ends early`);
  const planes = new Float32Array(3 * width * height);
  for (let i = 0; i < planes.length; i++) {
    const channel = Math.floor(i / (width * height));
    planes[i] = (values[3 * (i % (width * height)) + channel] - MEAN) / STD;
  }
  return new ort.Tensor("float32", planes, [1, 3, height, width]);
}

async function main(given) {
  const [model, photograph, out, target = "-1"] = given;
  if (given.length < 3 || given.length > 4) {
    throw new Error("the arguments are explained.onnx photograph.ppm heat.pgm [target]");
  }
  if (!/^-?\d{1,18}$/.test(target)) throw new Error(`${target} is no class or rank`);
  const session = await ort.InferenceSession.create(model);
  const targets = new ort.Tensor("int64", BigInt64Array.of(BigInt(target)), [1, 1]);
  const feeds = { [session.inputNames[0]]: pixels(photograph), relcam_targets: targets };
  const { "heatmap/fused": heat, relcam_classes: classes } = await session.run(feeds, ["heatmap/fused", "relcam_classes"]);
  if (classes.data[0] < 0) throw new Error(`the model has no class or rank ${target}`);
  const [height, width] = heat.dims.slice(2);
  const gray = Uint8Array.from(heat.data, (value) => Math.round(255 * value));
  fs.writeFileSync(out, Buffer.concat([Buffer.from(`P5\n${width} ${height}\n255\n`), gray]));
  console.log(`class ${classes.data[0]}`);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(`Error: ${error.message}`);
  process.exit(1);
});
