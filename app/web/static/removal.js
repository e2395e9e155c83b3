// Deleting a request, once the person has said so a second time.

import { call } from "./api.js";
import { announce, byId } from "./dom.js";

/** Whether it was deleted. Throws ApiError, as while the request still runs. */
export async function askToDelete(id, name) {
  const dialog = byId("confirm");
  byId("confirm-text").textContent =
    `“${name}”, its compressed pictures and results are removed. Links to the pictures, also in catalogues that you have imported, lead nowhere then.`;
  dialog.returnValue = "no";
  dialog.showModal();
  await new Promise((resolve) => {
    dialog.addEventListener("close", resolve, { once: true });
  });
  if (dialog.returnValue !== "yes") return false;
  await call(`requests/${id}`, { method: "DELETE" });
  announce(`${name} has been deleted.`);
  return true;
}
