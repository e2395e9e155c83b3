// The few things that every view does with the document. Data becomes text here, never HTML.

import { sentence } from "./format.js";

export const byId = (id) => document.getElementById(id);

/** A copy of a template's only element; `texts` fills its [data-field]s. */
export function stamp(templateId, texts = {}) {
  const element = byId(templateId).content.firstElementChild.cloneNode(true);
  fill(element, texts);
  return element;
}

export function fill(element, texts) {
  for (const [name, text] of Object.entries(texts)) {
    element.querySelector(`[data-field="${name}"]`).textContent = text;
  }
}

/** Shows a message in a notice, or hides the notice. */
export function notify(notice, message = "") {
  notice.textContent = sentence(message);
  notice.hidden = !message;
}

/** Tells people who listen; for what others see anyway. */
export function announce(message) {
  byId("announcer").textContent = message;
}

/** Shares from 0 to 1, as custom properties of the style sheet. */
export function share(element, name, value) {
  element.style.setProperty(`--${name}`, String(Math.min(1, Math.max(0, value || 0))));
}

/** A bar whose value is known to ears too; `percent` from 0 to 100. */
export function advance(bar, percent) {
  share(bar, "done", percent / 100);
  bar.setAttribute("aria-valuenow", String(Math.floor(percent)));
}

/** An http(s) URL, or null: nothing else may become a link or a picture. */
export function webUrl(written, base) {
  try {
    const url = new URL(written, base || "https://invalid.invalid");
    const isComplete = base || url.hostname !== "invalid.invalid";
    return isComplete && /^https?:$/.test(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}
