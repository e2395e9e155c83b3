// What is known of a request's images, in three tabs; a tab is read when it is opened.

import { call } from "./api.js";
import { byId, share, stamp } from "./dom.js";
import { showFailures } from "./failures.js";
import { showPictures } from "./gallery.js";
import { bytes, count, plural, savedPercent } from "./format.js";
import { Pager } from "./pager.js";
import { prepareTabs, selectTab } from "./tabs.js";

const PICTURES = 48;
const FAILURES = 50;

let id = null;
let status = null;
let shown = {}; // per tab, what was true when it was read
const panels = { gallery: byId("panel-gallery"), failures: byId("panel-failures"), savings: byId("panel-savings") };
const pagers = {
  gallery: pagerOf(panels.gallery, showPictures),
  failures: pagerOf(panels.failures, showFailures),
};

export function prepareResults() {
  prepareTabs(byId("results").querySelector("[role=tablist]"), read);
}

export function clearResults(requestId) {
  id = requestId;
  status = null;
  for (const pager of Object.values(pagers)) pager.close();
  for (const list of ["gallery", "failures", "savings"]) byId(list).replaceChildren();
  refreshResults();
  selectTab("tab-gallery");
}

/** What was read is read anew. */
export function refreshResults() {
  shown = {};
}

/** With each status: counts on the tabs, and the open tab, as long as it may change. */
export function showResults(newest) {
  status = newest;
  const { completed, failed, cancelled } = status.progress;
  const isRunning = status.status === "processing";
  byId("results").hidden = !(completed || failed || cancelled);
  byId("count-gallery").textContent = count(completed);
  byId("count-failures").textContent = count(failed);
  byId("tab-failures").dataset.failed = String(failed > 0);
  byId("tab-savings").disabled = isRunning;
  byId("retries").hidden = isRunning || !(failed || cancelled);
  if (!completed && failed && !isRunning) selectTab("tab-failures");
  if (isRunning && panels.savings.hidden === false) selectTab("tab-gallery");
  for (const [name, panel] of Object.entries(panels)) if (!panel.hidden) read(name);
}

async function read(name) {
  if (!status) return;
  const { completed, failed } = status.progress;
  const now = { gallery: completed, failures: failed, savings: completed }[name];
  if (shown[name] === now) return;
  const isFirst = shown[name] === undefined;
  shown[name] = now;
  try {
    if (name === "savings") await readSavings();
    else if (isFirst) await pagers[name].open(firstPath(name));
    else if (canGrow(name)) await pagers[name].refresh();
  } catch {
    delete shown[name]; // the next status tries again
  }
}

const firstPath = (name) =>
  name === "gallery"
    ? `status/${id}?images=completed&limit=${PICTURES}`
    : `status/${id}?images=failed&limit=${FAILURES}`;

/** A page that is full changes no more but at its edges; nobody wants it to jump. */
function canGrow(name) {
  const full = { gallery: PICTURES, failures: FAILURES }[name];
  return !pagers[name].next || byId(name).childElementCount < full;
}

function pagerOf(panel, showPage) {
  return new Pager(panel.querySelector(".pager"), (body) => {
    showPage(body);
    panel.querySelector("[data-empty]").hidden = Object.keys(body.images).length > 0;
  });
}

async function readSavings() {
  const asked = id;
  const { products, rows, all_rows: all } = await call(`requests/${id}/savings`);
  if (asked !== id) return;
  const largest = Math.max(1, ...products.map((product) => product.bytes_in));
  byId("savings").replaceChildren(...products.map((product) => savingsRow(product, largest)));
  const of = rows < all ? ` of the first ${count(rows)} rows` : "";
  byId("savings-caption").textContent =
    `The ${plural(products.length, "product")}${of} whose pictures lost the most bytes.`;
  panels.savings.querySelector("table").hidden = !products.length;
  panels.savings.querySelector("[data-empty]").hidden = products.length > 0;
}

function savingsRow(product, largest) {
  const { row, product_name: name, serial_number: number, images, bytes_in: before, bytes_out: after } = product;
  const element = stamp("savings-row", {
    name: name || number || `Row ${count(row)}`,
    detail: `row ${count(row)} · ${plural(images, "picture")}`,
    bytes: `${bytes(before)} to ${bytes(after)}`,
    percent: `−${savedPercent(before, after)} %`,
  });
  share(element.querySelector(".span .dotted"), "share", before / largest);
  share(element.querySelector(".span .inked"), "share", after / largest);
  return element;
}
