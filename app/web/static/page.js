// Which view is shown is said by the address, so that a reload, a bookmark and Back all work:
// /  ·  /?request=<id>  ·  /?requests=<status>

import { byId } from "./dom.js";
import { prepareEarlier, showEarlier } from "./earlier.js";
import { preparePair } from "./pair.js";
import { closeRequest, prepareRequest, showRequest } from "./request.js";
import { prepareResults } from "./results.js";
import { prepareSession } from "./session.js";
import { prepareStart, resetStart } from "./start.js";

const VIEWS = ["start", "request", "earlier"];
const TITLES = { start: "Pressroom", request: "Request · Pressroom", earlier: "Earlier requests · Pressroom" };

function route() {
  const query = new URLSearchParams(location.search);
  closeRequest();
  if (query.has("request")) {
    show("request");
    showRequest(query.get("request"));
  } else if (query.has("requests")) {
    show("earlier");
    showEarlier(query.get("requests"));
  } else {
    resetStart();
    show("start");
  }
}

function show(name) {
  for (const view of VIEWS) byId(view).hidden = view !== name;
  document.title = TITLES[name];
  for (const link of document.querySelectorAll("nav [data-view]")) {
    const isHere = link.getAttribute("href") === { start: "./", earlier: "?requests=all" }[name];
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function go(address) {
  history.pushState(null, "", address);
  route();
  scrollTo(0, 0);
  // Ears and keys begin where the new view does.
  document.querySelector("main > section:not([hidden]) h1").focus({ preventScroll: true });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-view]");
  if (!link || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});
addEventListener("popstate", route);

prepareStart((id) => go(`?request=${id}`));
prepareRequest(() => go("?requests=all"));
prepareEarlier();
prepareResults();
preparePair();
prepareSession().then(route);
