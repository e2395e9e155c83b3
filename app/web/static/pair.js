// Before and after, one over the other. The picture before is loaded from its own host, without
// telling it where from, and only when somebody looks.

import { here } from "./api.js";
import { byId, share, webUrl } from "./dom.js";
import { bytes, nameOf, savedPercent } from "./format.js";

const dialog = byId("pair");
const stage = byId("stage");
const before = byId("pair-before");
const after = byId("pair-after");
const split = byId("split");
const note = byId("pair-note");

let entries = [];
let at = 0;
let base = "";

export function preparePair() {
  byId("pair-close").addEventListener("click", () => dialog.close());
  byId("pair-previous").addEventListener("click", () => showPair(at - 1));
  byId("pair-next").addEventListener("click", () => showPair(at + 1));
  split.addEventListener("input", () => share(stage, "split", split.value / 100));
  before.addEventListener("load", () => setBefore(true));
  before.addEventListener("error", () => before.hasAttribute("src") && setBefore(false));
  dialog.addEventListener("close", forget);
}

/** `pictures` are `{url, image}` of the page shown; `baseUrl` completes relative addresses. */
export function openPair(pictures, index, baseUrl) {
  entries = pictures;
  base = baseUrl;
  showPair(index);
  dialog.showModal();
}

function showPair(index) {
  at = index;
  const { url, image } = entries[at];
  const source = webUrl(url, base);
  forget();
  byId("pair-title").textContent = nameOf(url);
  after.src = pictureUrl(image);
  byId("pair-bytes").textContent = `${bytes(image.bytes_in)} to ${bytes(image.bytes_out)}`;
  const saved = savedPercent(image.bytes_in, image.bytes_out);
  byId("pair-saved").textContent = saved ? `−${saved} %` : "kept as it came";
  byId("pair-source").hidden = !source;
  byId("pair-source").href = source || "#";
  byId("pair-output").href = pictureUrl(image);
  byId("pair-previous").disabled = at === 0;
  byId("pair-next").disabled = at === entries.length - 1;
  note.textContent = source ? `Loading the original from ${new URL(source).host}…` : "The original has no address of its own.";
  if (source) before.src = source;
}

function setBefore(isThere) {
  for (const part of [before, split, ...stage.querySelectorAll(".stage-edge, .tag-before")]) {
    part.hidden = !isThere;
  }
  split.value = 50;
  share(stage, "split", 0.5);
  const host = new URL(before.src).host;
  note.textContent = isThere
    ? ""
    : `${host} does not show the original here: it is away, or refuses other sites. The link “original” opens it by itself.`;
}

function forget() {
  before.removeAttribute("src");
  for (const part of [before, split, ...stage.querySelectorAll(".stage-edge, .tag-before")]) {
    part.hidden = true;
  }
}

/** Our own pictures are asked for where this page is, by whatever name people reach it. */
export function pictureUrl({ path, output_url: output }) {
  const own = `${document.body.dataset.baseUrl}/${path}`;
  return output === own ? here(path) : output;
}
