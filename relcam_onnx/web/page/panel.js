// What is said of the picture: the target, what else there is to explain, and a way to ask for any class.

import { areApart } from "./shares.js";
import { named, percent } from "./words.js";

const $ = (id) => document.getElementById(id);
const TITLES = { classifier: "Top five", segmenter: "Most of the picture", detector: "Detections" };

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

export class Panel {
  constructor(model, choose) {
    this.model = model;
    this.choose = choose;
    $("candidates-title").textContent = TITLES[model.head.kind];
    this.buildSearch();
  }

  /** Labels to choose from, each with its number, since two classes may have one label. */
  buildSearch() {
    const { labels, classes, head } = this.model;
    const count = labels?.length ?? classes ?? 0;
    $("ask").hidden = count < 2 && head.kind !== "detector";
    const options = Array.from({ length: labels ? count : 0 }, (_, index) => new Option("", `${labels[index]} (${index})`));
    $("labels").append(...options);
    $("ask").addEventListener("submit", (event) => {
      event.preventDefault();
      const index = this.find($("label").value);
      $("label").setCustomValidity(index === null ? `No class of this model is called so; there are ${count}.` : "");
      if ($("label").reportValidity() && index !== null) this.choose({ index });
    });
    $("label").addEventListener("input", () => $("label").setCustomValidity(""));
  }

  /** The class that a text names: its number, a label, or the beginning of one; null where there is none. */
  find(text) {
    const wanted = text.trim().toLowerCase();
    const { labels, classes } = this.model;
    const numbered = /^(\d+)$/.exec(wanted) ?? /\((\d+)\)$/.exec(wanted);
    if (numbered) return Number(numbered[1]) < (labels?.length ?? classes ?? Infinity) ? Number(numbered[1]) : null;
    if (!wanted || !labels) return null;
    const names = labels.map((label) => label.toLowerCase());
    const tests = [(label) => label === wanted, (label) => label.startsWith(wanted), (label) => label.includes(wanted)];
    const found = tests.map((test) => names.findIndex(test)).find((index) => index >= 0);
    return found ?? null;
  }

  /** A picture has come, and nothing is known of it yet. */
  wait() {
    $("asked").textContent = "Looking …";
    $("evidence").textContent = "";
    $("candidates").replaceChildren();
    this.enable(false);
  }

  enable(possible) {
    for (const control of [$("download"), $("label"), $("ask").querySelector("button")]) control.disabled = !possible;
  }

  explain({ target, candidates, margin, doubt }, count) {
    const { model } = this;
    $("asked").textContent = `${named(target.index, model)} ${percent(target.share)}`;
    const ahead = `${Math.abs(margin).toFixed(1)} logits ${margin < 0 ? "behind" : "ahead of"} its nearest rivals`;
    const rivals = !areApart(model) && (model.classes ?? 2) > 1 && !model.paired;
    const said = rivals ? ahead : `score ${margin.toFixed(1)} before its sigmoid`;
    $("evidence").textContent = doubt ? `${said}: ${doubt}.` : `${said}.`;
    this.list(candidates, target.number);
    $("download").textContent = count > 1 ? `Download the sheet (${count} rows)` : "Download the sheet";
    this.enable(true);
  }

  /** The candidates as buttons; the one that has the focus keeps it. */
  list(candidates, chosen) {
    const focused = Number(document.activeElement?.dataset?.number ?? NaN);
    const items = candidates.map((one) => this.item(one, one.number === chosen));
    if (!items.length) items.push(element("li", "hint", "Nothing is detected; what is shown is the best there is."));
    $("candidates").replaceChildren(...items);
    $("candidates").querySelector(`[data-number="${focused}"]`)?.focus({ preventScroll: true });
  }

  item(one, chosen) {
    const [item, button] = [element("li", ""), element("button", "")];
    const bar = element("span", "bar");
    bar.style.width = `${100 * one.share}%`;
    button.type = "button";
    button.dataset.number = one.number;
    button.setAttribute("aria-pressed", String(chosen));
    button.append(element("span", "name", named(one.index, this.model)), element("span", "share", percent(one.share)), bar);
    button.addEventListener("click", () => this.choose(one));
    item.append(button);
    return item;
  }
}
