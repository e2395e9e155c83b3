// The requests of before, a page at a time, newest first.

import { byId, notify, stamp } from "./dom.js";
import { bytes, count, moment } from "./format.js";
import { Pager } from "./pager.js";
import { askToDelete } from "./removal.js";

const ON_A_PAGE = 20;
const view = byId("earlier");
const filter = byId("earlier-status");
const alert = byId("earlier-alert");
const pager = new Pager(view.querySelector(".pager"), showPage);

export function prepareEarlier() {
  filter.addEventListener("change", () => {
    history.replaceState(null, "", `?requests=${filter.value}`);
    showEarlier(filter.value);
  });
}

export async function showEarlier(status) {
  const isKnown = [...filter.options].some((option) => option.value === status);
  filter.value = isKnown ? status : "all";
  const chosen = filter.value === "all" ? "" : `&status=${filter.value}`;
  await guarded(() => pager.open(`requests?limit=${ON_A_PAGE}${chosen}`));
}

async function guarded(act) {
  notify(alert);
  try {
    await act();
  } catch (error) {
    notify(alert, error.message);
  }
}

function showPage({ requests }) {
  byId("requests").replaceChildren(...requests.map(entryOf));
  view.querySelector("[data-empty]").hidden = requests.length > 0;
}

function entryOf(request) {
  const { progress, status, queued, filename } = request;
  const isRunning = status === "processing";
  const entry = stamp("request-entry", {
    name: filename,
    when: moment(request.created_at),
    images: `${count(progress.completed)} of ${count(progress.total)} pictures`,
    bytes: progress.bytes_out ? `${bytes(progress.bytes_in)} to ${bytes(progress.bytes_out)}` : "",
    state: queued ? "queued" : isRunning ? `${Math.floor(progress.percent)} %` : status,
    delete: `Delete ${filename}`,
  });
  entry.querySelector("a").href = `?request=${request.request_id}`;
  entry.querySelector(".badge").dataset.state = status;
  const button = entry.querySelector(".delete");
  button.disabled = isRunning;
  button.addEventListener("click", () =>
    guarded(async () => {
      if (!(await askToDelete(request.request_id, filename))) return;
      await pager.refresh();
      byId("earlier-title").focus();
    }),
  );
  return entry;
}
