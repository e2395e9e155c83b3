// A page of compressed pictures, each a button that opens the pair. Never more than one page.

import { byId, fill, stamp } from "./dom.js";
import { bytes, nameOf, savedPercent } from "./format.js";
import { openPair, pictureUrl } from "./pair.js";

let entries = [];
let base = "";

/** A body of GET /status with completed images. Cards that stay keep their place and focus. */
export function showPictures({ images, options }) {
  base = options.base_url || "";
  entries = Object.entries(images).map(([url, image]) => ({ url, image }));
  const list = byId("gallery");
  const earlier = new Map([...list.children].map((card) => [card.dataset.path, card]));
  entries.forEach((entry, at) => {
    const card = earlier.get(entry.image.path) || newCard(entry);
    earlier.delete(entry.image.path);
    if (list.children[at] !== card) list.insertBefore(card, list.children[at] || null);
    card.firstElementChild.onclick = () => openPair(entries, at, base);
  });
  for (const card of earlier.values()) card.remove();
}

function newCard({ url, image }) {
  const card = stamp("picture-card");
  const saved = savedPercent(image.bytes_in, image.bytes_out);
  card.dataset.path = image.path;
  card.querySelector("img").src = pictureUrl(image);
  fill(card, {
    name: nameOf(url),
    bytes: saved ? `${bytes(image.bytes_in)} to ${bytes(image.bytes_out)}` : bytes(image.bytes_out),
    saved: saved ? `−${saved} %` : "as it came",
  });
  return card;
}
