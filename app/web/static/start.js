// A new catalogue: choose a file, see it checked, say how, send it.

import { ApiError, here, upload } from "./api.js";
import { advance, announce, byId, notify } from "./dom.js";
import { bytes } from "./format.js";
import { clearReport, showFault, showReport } from "./report.js";

const form = byId("upload-form");
const fileInput = byId("file");
const drop = byId("drop");
const alert = byId("start-alert");
const sendButton = byId("send");

let file = null;
let checking = null; // aborts the check under way
let sending = null;
let key = null; // the Idempotency-Key, as long as what is sent stays the same
let openRequest = () => {};

/** `open` is told the id of each request that was sent. */
export function prepareStart(open) {
  openRequest = open;
  fileInput.addEventListener("change", () => fileInput.files[0] && choose(fileInput.files[0]));
  byId("choose-another").addEventListener("click", () => fileInput.click());
  byId("take-sample").addEventListener("click", takeSample);
  byId("quality").addEventListener("input", showQuality);
  form.addEventListener("input", () => {
    key = null;
  });
  form.addEventListener("change", (event) => {
    const mayMend = byId("report").dataset.state === "refused";
    if (file && ("check" in event.target.dataset || mayMend)) check();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!sendButton.disabled) send();
  });
  addEventListener("beforeunload", (event) => sending && event.preventDefault());
  prepareDrop();
}

/** An empty desk, when the view is opened anew. */
export function resetStart() {
  checking?.abort();
  sending?.abort();
  form.reset();
  showQuality();
  file = null;
  notify(alert);
  drop.hidden = false;
  byId("chosen").hidden = true;
  byId("desk").hidden = true;
}

function showQuality() {
  byId("quality-shown").value = byId("quality").value;
}

function prepareDrop() {
  const over = (is) => (event) => {
    event.preventDefault();
    drop.classList.toggle("over", is);
  };
  // Everywhere, since a file that misses the zone would replace the page.
  addEventListener("dragover", over(true));
  addEventListener("dragleave", (event) => event.relatedTarget || over(false)(event));
  addEventListener("drop", (event) => {
    over(false)(event);
    const dropped = event.dataTransfer.files[0];
    if (dropped && !byId("start").hidden && !sending) choose(dropped);
  });
}

async function takeSample() {
  try {
    const reply = await fetch(here("samples/catalog.csv"));
    if (!reply.ok) throw new ApiError(reply.status);
    choose(new File([await reply.blob()], "catalog.csv", { type: "text/csv" }));
  } catch (error) {
    notify(alert, error instanceof ApiError ? error.message : new ApiError(0).message);
  }
}

function choose(chosen) {
  const most = Number(document.body.dataset.maxBytes);
  if (chosen.size > most) {
    notify(alert, `${chosen.name} has ${bytes(chosen.size)}; at most ${bytes(most)} are taken. Split it.`);
    return;
  }
  file = chosen;
  key = null;
  fileInput.value = "";
  byId("chosen-name").textContent = file.name;
  byId("chosen-size").textContent = bytes(file.size);
  byId("chosen").hidden = false;
  drop.hidden = true;
  check({ focuses: true });
}

/** A dry run; what an earlier one found goes at once. Only a new file moves the focus: whoever
 * changes an option goes on from there. */
async function check({ focuses = false } = {}) {
  if (sending) return;
  checking?.abort();
  checking = new AbortController();
  const { signal } = checking;
  notify(alert);
  byId("desk").hidden = false;
  clearReport();
  sendButton.disabled = true;
  sendButton.textContent = "Compress";
  try {
    const trial = filledIn();
    trial.set("dry_run", "true");
    const report = await upload(trial, { signal });
    showReport(report);
    sendButton.disabled = false;
    sendButton.textContent = `Compress ${byId("report-images").textContent} images`;
  } catch (error) {
    if (error.name === "AbortError") return;
    showFault(error);
    if (/image.column/.test(error.message)) byId("more").open = true; // where it can be named
    // What is only busy, or counts its callers, may take the file all the same.
    sendButton.disabled = ![0, 429, 503].includes(error.status);
  }
  if (focuses) byId("report-title").focus({ preventScroll: true });
}

/** The form as POST /upload takes it; what is empty is left out. */
function filledIn() {
  const filled = new FormData();
  filled.set("file", file, file.name);
  for (const name of ["quality", "format", "max_width", "max_height", "on_error", "base_url", "webhook_url"]) {
    const value = form.elements[name].value.trim();
    if (value) filled.set(name, value);
  }
  for (const header of form.elements.image_column.value.split("\n")) {
    if (header.trim()) filled.append("image_column", header.trim());
  }
  return filled;
}

async function send() {
  sending = new AbortController();
  key ||= newKey();
  notify(alert);
  setSending(true);
  try {
    const headers = { "Idempotency-Key": key };
    const { signal } = sending;
    const accepted = await upload(filledIn(), { headers, progress: showSent, signal });
    announce("The catalogue has been sent.");
    if (!byId("start").hidden) openRequest(accepted.request_id); // or somebody is pulled away
  } catch (error) {
    if (error.name !== "AbortError") {
      notify(alert, sentenceOf(error));
      alert.scrollIntoView({ block: "nearest" });
    }
  }
  sending = null;
  setSending(false);
}

function setSending(is) {
  sendButton.disabled = is;
  byId("choose-another").disabled = is;
  byId("send-bar").hidden = !is;
  byId("send-note").hidden = !is;
  if (is) showSent(0);
}

function showSent(percent) {
  advance(byId("send-bar"), percent);
  byId("send-note").textContent =
    percent < 100 ? `${Math.floor(percent)} % of ${bytes(file.size)} sent` : "Storing the rows…";
}

function sentenceOf(error) {
  const wait = error.retryAfterSeconds;
  if (error.status === 0) return `${error.message} Or the file has changed since it was chosen: choose it again.`;
  return wait ? `${error.message} (Try again in ${wait} s.)` : error.message;
}

/** crypto.randomUUID is missing where a page comes over plain HTTP from another machine. */
function newKey() {
  const numbers = crypto.getRandomValues(new Uint32Array(4));
  return Array.from(numbers, (number) => number.toString(16).padStart(8, "0")).join("");
}
