// The picture, the overlay of one map, the boxes of a detector, and the maps to choose from.

import { coloured, heat, shades, whereabouts } from "./maps.js";
import { named, percent } from "./words.js";

const $ = (id) => document.getElementById(id);
const LONGEST = 1024; // pixels of the picture that is shown
const SMALL = 132; // of a map to choose

/** Paint a canvas with a map's colours, `size` [height, width] large. */
export function paint(canvas, map, geometry, size, levels) {
  [canvas.height, canvas.width] = size;
  canvas.getContext("2d").putImageData(coloured(heat(map, geometry, size), size, levels), 0, 0);
}

/** How opaque the whole overlay is: what the slider says, and less where there is no evidence. */
const opacityOf = (explained, model) => (explained.doubt ? model.opacity.faint / model.opacity.most : 1);

export class View {
  constructor(model, choose) {
    this.model = model;
    this.choose = choose;
    this.levels = shades(model);
    this.stage = model.maps.at(-1).name;
    const scale = $("scale").getContext("2d");
    const image = new ImageData(256, 1);
    model.palette.forEach((colour, i) => image.data.set([...colour, 255], 4 * i));
    scale.putImageData(image, 0, 0);
    $("opacity").value = 100 * model.opacity.most;
    $("opacity").addEventListener("input", () => this.fade());
    this.buildStrip();
    this.fade();
  }

  /** A radio button for each map, with a small overlay. */
  buildStrip() {
    for (const { name, title } of this.model.maps) {
      const [label, radio, canvas, text] = ["label", "input", "canvas", "span"].map((tag) => document.createElement(tag));
      Object.assign(radio, { type: "radio", name: "stage", value: name, className: "unseen", checked: name === this.stage });
      canvas.setAttribute("aria-hidden", "true");
      text.textContent = title;
      label.append(radio, canvas, text);
      radio.addEventListener("change", () => {
        this.stage = name;
        this.draw();
      });
      $("strip").append(label);
    }
    $("stages").hidden = this.model.maps.length < 2;
  }

  /** Show a picture, without an explanation yet. */
  show(bitmap) {
    const scale = Math.min(1, LONGEST / Math.max(bitmap.width, bitmap.height));
    this.size = [bitmap.height, bitmap.width].map((length) => Math.max(1, Math.round(scale * length)));
    $("frame").style.setProperty("--ratio", this.size[1] / this.size[0]);
    const canvas = $("picture");
    [canvas.height, canvas.width] = this.size;
    const pen = canvas.getContext("2d");
    pen.fillStyle = "white"; // what transparent pictures lie on
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.imageSmoothingQuality = "high";
    pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    this.explained = null;
    [$("overlay").height, $("overlay").width] = this.size;
    $("overlay").setAttribute("aria-label", "No explanation yet");
    $("boxes").replaceChildren();
  }

  explain(explained) {
    this.explained = explained;
    this.drawBoxes();
    this.draw();
    requestAnimationFrame(() => this.drawStrip()); // the overlay comes first
  }

  drawStrip() {
    if (!this.explained) return;
    const size = this.small();
    this.explained.maps.forEach((map, i) => this.drawSmall($("strip").children[i].querySelector("canvas"), map, size));
  }

  small() {
    const scale = SMALL / Math.max(...this.size);
    return this.size.map((length) => Math.max(1, Math.round(scale * length)));
  }

  drawSmall(canvas, map, size) {
    const layer = document.createElement("canvas");
    paint(layer, map, this.explained.geometry, size, this.levels);
    [canvas.height, canvas.width] = size;
    const pen = canvas.getContext("2d");
    pen.drawImage($("picture"), 0, 0, canvas.width, canvas.height);
    pen.globalAlpha = this.model.opacity.most * opacityOf(this.explained, this.model);
    pen.drawImage(layer, 0, 0);
  }

  /** The map that is chosen, over the picture. */
  draw() {
    if (!this.explained) return;
    const { maps, geometry, target } = this.explained;
    const map = maps.find(({ name }) => name === this.stage);
    paint($("overlay"), map, geometry, this.size, this.levels);
    const place = whereabouts(heat(map, geometry, this.small()), this.small());
    const what = `What speaks for ${named(target.index, this.model)}, ${map.title}`;
    $("overlay").setAttribute("aria-label", `${what}: strongest ${place} of the picture`);
    this.fade();
  }

  fade() {
    const share = $("opacity").value / 100;
    $("opacity-value").textContent = `${$("opacity").value} %`;
    $("opacity").setAttribute("aria-valuetext", `${$("opacity").value} %`);
    $("overlay").style.opacity = share * (this.explained ? opacityOf(this.explained, this.model) : 1);
  }

  /** A button for each box: large ones first, so that small ones lie on top. */
  drawBoxes() {
    const { candidates, target } = this.explained;
    const all = candidates.some(({ number }) => number === target.number) ? candidates : [...candidates, target];
    const area = ([left, top, right, bottom]) => (right - left) * (bottom - top);
    const boxed = all.filter(({ box }) => box).sort((a, b) => area(b.box) - area(a.box));
    $("boxes").replaceChildren(...boxed.map((one) => this.boxOf(one, one.number === target.number)));
  }

  boxOf(one, chosen) {
    const [left, top, right, bottom] = one.box;
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.number = one.number;
    button.tabIndex = -1; // the list of what it sees has the same for keys and screen readers
    button.title = `${named(one.index, this.model)} ${percent(one.share)}`;
    button.classList.toggle("chosen", chosen);
    const shares = { left, top, width: right - left, height: bottom - top };
    for (const [side, share] of Object.entries(shares)) button.style[side] = `${100 * share}%`;
    button.addEventListener("click", () => this.choose(one));
    return button;
  }
}
