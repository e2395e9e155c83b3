// One request: progress while it runs, then what came of it.

import { call, here } from "./api.js";
import { advance, announce, byId, notify, share } from "./dom.js";
import { bytes, count, duration, moment, plural, savedPercent, sentence } from "./format.js";
import { poll } from "./poll.js";
import { clearResults, refreshResults, showResults } from "./results.js";
import { askToDelete } from "./removal.js";

const alert = byId("request-alert");
const STATES = { processing: "running", completed: "completed", failed: "failed", cancelled: "cancelled" };

let id = null;
let watching = null;
let told = 0; // the quarters of the way that were announced
let openRequests = () => {};

/** `leave` is called when the request shown is there no more. */
export function prepareRequest(leave) {
  openRequests = leave;
  byId("cancel").addEventListener("click", cancel);
  byId("retry-all").addEventListener("click", () => retry(""));
  byId("retry-transient").addEventListener("click", () => retry("?only=transient"));
  byId("delete-request").addEventListener("click", remove);
  for (const link of document.querySelectorAll("#request a[download]")) {
    link.addEventListener("click", download);
  }
}

export function showRequest(requestId) {
  closeRequest();
  id = requestId;
  byId("request-title").textContent = "…";
  byId("request-meta").textContent = "";
  byId("request-state").textContent = "";
  notify(alert);
  for (const part of ["progress", "outcome", "results", "delete-request"]) byId(part).hidden = true;
  clearResults(id);
  setLinks();
  watch();
}

export function closeRequest() {
  watching?.abort();
  watching = null;
}

function setLinks() {
  const path = `download/${encodeURIComponent(id)}`;
  byId("partial").href = here(`${path}?partial=true`);
  byId("file-csv").href = here(path);
  byId("file-import").href = here(`${path}?urls=replace`);
  byId("file-xlsx").href = here(`${path}?format=xlsx`);
  byId("file-zip").href = here(`${path}/images.zip`);
}

/** Asks until the request has ended, the view is left, or there is nothing to be had. */
async function watch() {
  watching?.abort();
  watching = new AbortController();
  told = 0;
  const { signal } = watching;
  await poll({
    signal,
    ask: () => call(`status/${encodeURIComponent(id)}?images=none`, { signal }),
    show: (status) => {
      byId("poll-note").textContent = "";
      notify(alert);
      show(status);
      return status.status === "processing";
    },
    wait: (error, seconds) => {
      const message = `${sentence(error.message)} Asking again in ${Math.round(seconds)} s.`;
      if (byId("progress").hidden) notify(alert, message);
      else byId("poll-note").textContent = message;
    },
    giveUp: (error) => {
      byId("request-title").textContent = error.status === 404 ? "There is no such request" : "…";
      notify(alert, error.status === 404 ? "It may have been deleted, or belongs to another key." : error.message);
    },
  });
}

function show(status) {
  const isRunning = status.status === "processing";
  byId("request-title").textContent = status.filename;
  document.title = isRunning
    ? `${Math.floor(status.progress.percent)} % · ${status.filename}`
    : `${status.filename} · Pressroom`;
  byId("request-meta").textContent = metaOf(status);
  const badge = byId("request-state");
  badge.textContent = status.queued ? "queued" : STATES[status.status];
  badge.dataset.state = status.status;
  const hadFocus = byId("progress").contains(document.activeElement);
  byId("progress").hidden = !isRunning;
  byId("outcome").hidden = isRunning || status.status === "failed";
  byId("delete-request").hidden = isRunning;
  if (isRunning) showProgress(status);
  else showOutcome(status);
  if (hadFocus && !isRunning) byId("request-title").focus();
  showResults(status);
}

function metaOf({ created_at, options, webhook }) {
  const { quality, format, max_width: width, max_height: height } = options;
  const parts = [moment(created_at), `quality ${quality}`, `format ${format}`];
  if (width || height) parts.push(`at most ${width || "any"} × ${height || "any"} pixels`);
  if (webhook.state !== "none") parts.push(`webhook ${webhook.state}`);
  return parts.join(" · ");
}

function showProgress({ progress, queued }) {
  const { percent, total, remaining, images_per_second: rate, eta_seconds: left } = progress;
  byId("percent").textContent = String(Math.floor(percent));
  advance(byId("progress-bar"), percent);
  byId("progress-images").textContent = `${count(total - remaining)} of ${count(total)}`;
  byId("progress-rate").textContent = queued ? "queued" : rate < 10 ? rate.toFixed(1) : count(Math.round(rate));
  byId("progress-left").textContent = left === null ? "…" : duration(left);
  byId("progress-saved").textContent = bytes(Math.max(0, progress.bytes_in - progress.bytes_out));
  byId("cancel").disabled = byId("cancel").dataset.id === id;
  tellQuarter(percent);
}

/** Ears hear of each quarter, not of each percent. */
function tellQuarter(percent) {
  const quarter = Math.floor(percent / 25);
  if (quarter > told && quarter < 4) announce(`${quarter * 25} percent of the images are done.`);
  told = Math.max(told, quarter);
}

function showOutcome({ status, error, progress }) {
  const { completed, failed, cancelled, reused, bytes_in: before, bytes_out: after } = progress;
  const percent = savedPercent(before, after);
  byId("saved-percent").textContent = String(percent);
  share(byId("weight-after"), "share", before ? after / before : 1);
  byId("outcome-bytes").textContent = `${bytes(before)} became ${bytes(after)}`;
  const counts = [plural(completed, "picture")];
  if (failed) counts.push(`${count(failed)} failed`);
  if (cancelled) counts.push(`${count(cancelled)} cancelled`);
  if (reused) counts.push(`${count(reused)} taken from an earlier request`);
  byId("outcome-counts").textContent = counts.join(" · ");
  byId("outcome").classList.toggle("without-pictures", !completed);
  if (status === "failed") notify(alert, `The request could not be finished: ${error}`);
  announce(`The request is ${status}. ${counts.join(", ")}. ${percent} percent smaller.`);
}

async function cancel() {
  byId("cancel").disabled = true;
  byId("cancel").dataset.id = id;
  byId("poll-note").textContent = "Stopping after the images under way…";
  try {
    await call(`cancel/${id}`, { method: "POST" });
  } catch (error) {
    if (error.status === 409) return; // it ended just now
    delete byId("cancel").dataset.id;
    byId("cancel").disabled = false;
    byId("poll-note").textContent = error.message;
  }
}

async function retry(query) {
  notify(alert);
  delete byId("cancel").dataset.id;
  try {
    await call(`retry/${id}${query}`, { method: "POST" });
    announce("The failed images run again.");
    refreshResults();
    watch();
  } catch (error) {
    notify(alert, error.message);
  }
}

async function remove() {
  try {
    if (await askToDelete(id, byId("request-title").textContent)) openRequests();
  } catch (error) {
    notify(alert, error.message);
  }
}

/** A link whose session has ended would save an error message: asks for the key first. */
async function download(event) {
  const link = event.currentTarget;
  if (document.body.dataset.hasKeys !== "true" || link.dataset.isSure) return;
  event.preventDefault();
  try {
    await call(`status/${id}?images=none`);
    link.dataset.isSure = "true";
    link.click();
  } catch (error) {
    notify(alert, error.message);
  }
  delete link.dataset.isSure;
}
