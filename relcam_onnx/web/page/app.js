// The page: a picture comes in, the worker explains it, the view and the panel show it.

import { Panel } from "./panel.js";
import { sheet } from "./sheet.js";
import { listen } from "./sources.js";
import { View } from "./view.js";
import { named, percent } from "./words.js";

const $ = (id) => document.getElementById(id);
const MOST_PIXELS = 2 ** 24; // of a canvas on every device: larger photographs are read at a part of their size
const MOST_WAIT = 3000; // milliseconds, for the service worker

let model, worker, view, panel;
let ready = false;
let newest = 0; // the request whose answer is awaited
let begun = 0; // when what is awaited was asked for
let name = ""; // of the picture
let done = new Map(); // what was explained of it, by the target's number

function say(text, failed = false) {
  $("status").textContent = text;
  $("status").classList.toggle("failed", failed);
}

function refuse(text) {
  say(text, true);
}

/** Pictures come upright, and in their own numbers, whatever colour space they name. */
async function read(blob) {
  const how = { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "default" };
  const bitmap = await createImageBitmap(blob, how);
  const scale = Math.sqrt(MOST_PIXELS / (bitmap.width * bitmap.height));
  if (scale >= 1) return bitmap;
  const resizeWidth = Math.floor(scale * bitmap.width);
  return createImageBitmap(blob, { ...how, resizeWidth, resizeQuality: "high" });
}

async function give(blob, called) {
  begun = performance.now();
  let bitmap;
  try {
    bitmap = await read(blob);
  } catch {
    refuse(`${called} cannot be read as a picture: save it as JPEG, PNG or WebP.`);
    return;
  }
  [name, done] = [called, new Map()];
  $("sources").classList.add("after");
  $("work").hidden = false;
  view.show(bitmap);
  panel.wait();
  say(ready ? "Looking …" : "The picture waits for the model.");
  ask({ bitmap }, [bitmap]);
}

function ask(what, passed = []) {
  newest += 1;
  worker.postMessage({ kind: "explain", id: newest, ...what }, passed);
}

/** Explain one of the candidates, or what stands for a class. */
function choose({ number, index }) {
  const kept = done.get(number);
  if (kept) {
    newest += 1; // whatever is still on its way has been overtaken
    show(kept);
    return;
  }
  begun = performance.now();
  say("Looking …");
  ask({ number, index });
}

function show(explained) {
  done.set(explained.target.number, explained);
  view.explain(explained);
  panel.explain(explained, done.size);
  const { target, milliseconds } = explained;
  const time = milliseconds < 950 ? `${Math.ceil(milliseconds / 50) * 50} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
  say(`${named(target.index, model)}, ${percent(target.share)}, explained in ${time}.`);
  document.dispatchEvent(new CustomEvent("explained", { detail: explained }));
}

const answers = {
  loading: ({ share }) => {
    $("loading").value = share;
    say(`Loading the model: ${Math.round((share * model.bytes) / 1e5) / 10} of ${Math.round(model.bytes / 1e5) / 10} MB.`);
  },
  starting: () => {
    $("loading").removeAttribute("value");
    say("Starting the model …");
  },
  ready: ({ how }) => {
    ready = true;
    $("loading").hidden = true;
    say($("work").hidden ? "Ready for a picture." : "Looking …");
    $("made").textContent += ` ${how}.`;
  },
  explained: (told) => {
    if (told.id !== newest) return;
    show({ ...told, milliseconds: performance.now() - begun });
  },
  failed: ({ id, message }) => {
    if (id === newest || !ready) refuse(message);
  },
};

async function download() {
  const blob = await sheet($("picture"), name, Array.from(done.values()), model);
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${name.replace(/\.[^.]+$/, "")} explained.jpg`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const later = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** Have the site's own service worker make it an isolated page, which may use several threads; once, if it can be. */
async function isolate() {
  if (crossOriginIsolated || !navigator.serviceWorker) return false;
  try {
    if (sessionStorage.getItem("isolated")) return false; // it did not help
    sessionStorage.setItem("isolated", "tried");
    const active = navigator.serviceWorker.register("isolation.js").then(() => navigator.serviceWorker.ready);
    const answer = await Promise.race([active, later(MOST_WAIT)]);
    if (answer) location.reload();
    return Boolean(answer);
  } catch {
    return false; // a private window, perhaps: one thread will do
  }
}

async function start() {
  $("unserved").hidden = true;
  if (await isolate()) return;
  $("page").hidden = false;
  const answer = await fetch("model.json");
  if (!answer.ok) throw new Error(`The server does not have model.json (${answer.status}).`);
  model = await answer.json();
  document.title = `${model.title}: why does it say that?`;
  $("title").textContent = model.title;
  $("made").textContent = `Method ${model.method}, preset ${model.preset}, seed ${model.seed}.`;
  view = new View(model, choose);
  panel = new Panel(model, choose);
  $("download").addEventListener("click", download);
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = ({ data }) => answers[data.kind](data);
  worker.onerror = (event) => refuse(`The model's worker cannot start (${event.message || "its scripts are not there"}).`);
  worker.postMessage({ kind: "start", id: 0, description: model });
  listen(give, refuse);
}

start().catch((error) => refuse(error.message));
