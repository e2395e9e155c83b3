// The key's way into a cookie. What somebody was doing stays as it is behind the dialog.

import { byId, notify } from "./dom.js";

const dialog = byId("sign-in");
const form = byId("sign-in-form");
const signOutButton = byId("sign-out");
const COOKIE_REFUSED =
  "The key is right, but this browser refused the session's cookie. Open the page at the service's " +
  `BASE_URL, ${document.body.dataset.baseUrl}, or have BASE_URL set to the address above; a cookie of ` +
  "https is not kept over http. Cookies must be allowed here.";
let underWay = null;

/** Resolves once a key has been taken; all who wait share one dialog. */
export function signIn() {
  underWay ||= ask().finally(() => {
    underWay = null;
  });
  return underWay;
}

export function prepareSession() {
  const { hasKeys, isSignedIn } = document.body.dataset;
  signOutButton.hidden = isSignedIn !== "true";
  signOutButton.addEventListener("click", signOut);
  // Escape closes nothing: there is nothing to do behind the dialog.
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  dialog.addEventListener("close", () => underWay && dialog.showModal());
  return hasKeys === "true" && isSignedIn !== "true" ? signIn() : Promise.resolve();
}

async function ask() {
  if (document.body.dataset.isSignedIn === "true") {
    byId("sign-in-text").textContent = "Your session has ended. Nothing of what you chose is lost.";
  }
  dialog.showModal();
  byId("key").focus();
  while (!(await tryKey())) byId("key").select();
  form.reset();
  document.body.dataset.isSignedIn = "true";
  signOutButton.hidden = false;
  dialog.close();
}

async function tryKey() {
  await new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      resolve();
    };
  });
  notify(byId("sign-in-alert"));
  try {
    const reply = await fetch("session", { method: "POST", body: new FormData(form) });
    if (reply.ok && (await isLetIn())) return true;
    if (reply.ok) {
      notify(byId("sign-in-alert"), COOKIE_REFUSED);
      return false;
    }
    const body = await reply.json().catch(() => null);
    const fault = reply.status === 401 ? "That is no valid API key." : body?.error;
    notify(byId("sign-in-alert"), fault || `The service answered ${reply.status}.`);
  } catch {
    notify(byId("sign-in-alert"), "The service can't be reached. Try again.");
  }
  return false;
}

/** A browser drops a cookie in silence, and every call would ask for the key again. */
async function isLetIn() {
  const reply = await fetch("requests?limit=1");
  return reply.status !== 401;
}

async function signOut() {
  await fetch("session", { method: "DELETE" });
  location.assign("./");
}
