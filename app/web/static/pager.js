// Pages by cursor: forward by what the service names, back by what was remembered.

import { call } from "./api.js";

/** Calls `show(body)` with each page that was asked for, but for one that came too late. */
export class Pager {
  constructor(nav, show) {
    this.nav = nav;
    this.show = show;
    this.paths = [];
    this.next = null;
    this.turn = 0;
    nav.replaceChildren(document.getElementById("pager-buttons").content.cloneNode(true));
    this.previousButton = nav.querySelector(".previous");
    this.nextButton = nav.querySelector(".next");
    this.previousButton.addEventListener("click", () => this.#turnTo(() => this.paths.pop()));
    this.nextButton.addEventListener("click", () => this.#turnTo(() => this.paths.push(this.next)));
  }

  open(path) {
    this.paths = [path];
    return this.refresh();
  }

  /** What is still to come is not shown any more. */
  close() {
    this.turn += 1;
    this.nav.hidden = true;
  }

  /** The present page once more. Throws ApiError. */
  async refresh() {
    this.turn += 1;
    const { turn } = this;
    const body = await call(this.paths.at(-1));
    if (turn !== this.turn) return;
    this.next = body.next || null;
    this.show(body);
    this.#showButtons(`page ${this.paths.length}`);
    this.nav.hidden = this.paths.length === 1 && !this.next;
  }

  async #turnTo(change) {
    const before = [...this.paths];
    const pressed = document.activeElement;
    change();
    try {
      await this.refresh();
      // A button that has just gone dead would take the focus with it.
      if (pressed.disabled) this.#otherThan(pressed).focus({ preventScroll: true });
      this.nav.parentElement.querySelector("ul").scrollIntoView({ block: "start" });
    } catch (error) {
      this.paths = before;
      this.#showButtons(error.message);
    }
  }

  #showButtons(where) {
    this.previousButton.disabled = this.paths.length === 1;
    this.nextButton.disabled = !this.next;
    this.nav.querySelector(".where").textContent = where;
  }

  #otherThan(button) {
    return button === this.nextButton ? this.previousButton : this.nextButton;
  }
}
