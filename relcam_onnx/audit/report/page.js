"use strict";
// The page reads without this: it only moves every picture's opacity and stage at once.
const tools = document.getElementById("tools");
if (tools) {
  tools.hidden = false;
  const opacity = document.getElementById("opacity");
  opacity.addEventListener("input", () => {
    document.documentElement.style.setProperty("--opacity", opacity.value);
  });
  const stage = document.getElementById("stage");
  if (stage) {
    const output = document.getElementById("stage-name");
    stage.addEventListener("input", () => {
      for (const choice of document.querySelectorAll(`input.s${stage.value}`)) {
        choice.checked = true;
        output.value = choice.dataset.layer;
      }
    });
  }
}
