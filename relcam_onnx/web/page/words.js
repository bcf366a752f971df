// What is said of a target, as relcam_onnx/results/words.py says it.

/** A probability for people: "37 %", "2.3 %", "< 0.1 %". */
export function percent(share) {
  const hundredths = 100 * share;
  if (hundredths > 0 && hundredths < 0.1) return "< 0.1 %";
  return hundredths > 0 && hundredths < 9.95 ? `${hundredths.toFixed(1)} %` : `${Math.round(hundredths)} %`;
}

/** A class by its label, or its number where classes have no names. */
export function named(index, model) {
  return model.labels?.[index] ?? `class ${index}`;
}

/** A target with its margin, and what is doubtful: "282 tiger cat 37 %, margin 4.7". */
export function caption(explained, model) {
  const { target, margin, doubt } = explained;
  const label = model.labels?.[target.index];
  const name = label === undefined ? `class ${target.index}` : `${target.index} ${label}`;
  const said = `${name} ${percent(target.share)}, margin ${(Math.round(10 * margin) / 10 + 0).toFixed(1)}`;
  return doubt ? `${said}: ${doubt}` : said;
}
