// A page of failures: which picture, why, and what to do about it.

import { adviceOn } from "./advice.js";
import { byId, stamp, webUrl } from "./dom.js";
import { sentence } from "./format.js";

/** A body of GET /status with failed images. */
export function showFailures({ images, options, progress, next }) {
  const entries = Object.entries(images).map(([url, { error }]) => {
    const entry = stamp("failure-entry", {
      message: sentence(error.message),
      code: error.code,
      advice: adviceOn(error),
      url,
    });
    const address = webUrl(url, options.base_url);
    if (address) entry.querySelector("a").href = address;
    return entry;
  });
  byId("failures").replaceChildren(...entries);
  const mayHeal = Object.values(images).some(({ error }) => !error.permanent);
  byId("retry-transient").disabled = !(mayHeal || next || progress.cancelled);
}
