// What the check of a file found: rows, images, columns, and each fault with its place.

import { announce, byId, stamp } from "./dom.js";
import { count, plural, sentence } from "./format.js";

const SHOWN_FAULTS = 100;
const MEANINGS = { images: "Images", serial_number: "Number", product_name: "Product" };

const title = byId("report-title");

export function clearReport() {
  byId("report").setAttribute("aria-busy", "true");
  title.textContent = "Checking the rows…";
  byId("report").dataset.state = "checking";
  byId("report-body").hidden = true;
  byId("faults").hidden = true;
}

/** The body of a dry run. */
export function showReport(report) {
  byId("report-rows").textContent = count(report.rows);
  byId("report-images").textContent = count(report.images);
  byId("report-faults").textContent = count(report.faults);
  const columns = Object.entries(report.columns).map(([meaning, headers]) =>
    stamp("column-pair", { meaning: MEANINGS[meaning] || meaning, headers: headers.join(", ") }),
  );
  byId("report-columns").replaceChildren(...columns);
  byId("report-body").hidden = false;
  showFaults(report.faults, report.details);
  const rows = report.faults === 1 ? "its row is" : "their rows are";
  if (report.faults) conclude(`${plural(report.faults, "fault")}: ${rows} left out`, "faulty");
  else conclude("Every row is in order", "fine");
}

/** An ApiError: the file can't be used, or can't be checked now. */
export function showFault(error) {
  showFaults(error.body.faults || 0, error.body.details || []);
  const wait = error.retryAfterSeconds;
  const message = sentence(error.message);
  conclude(wait ? `${message} (Try again in ${wait} s.)` : message, "refused");
}

function conclude(message, state) {
  title.textContent = message;
  byId("report").dataset.state = state;
  byId("report").setAttribute("aria-busy", "false");
  announce(message);
}

function showFaults(number, details) {
  byId("faults").hidden = !details.length;
  const rows = details.slice(0, SHOWN_FAULTS).map(({ row, line, column, message, code }) =>
    stamp("fault-row", { row: count(row), line: count(line), column, message, code }),
  );
  byId("fault-rows").replaceChildren(...rows);
  const more = byId("faults-more");
  more.hidden = number <= rows.length;
  more.textContent = `and ${count(number - rows.length)} more`;
}
