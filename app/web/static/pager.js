// Pages by cursor: forward by what the service names, back by what was remembered.

/** Calls `load(path)`, which shows a page and returns the path of the next, or nothing. */
export class Pager {
  constructor(nav, load) {
    this.nav = nav;
    this.load = load;
    this.paths = [];
    this.next = null;
    const buttons = document.getElementById("pager-buttons").content.cloneNode(true);
    nav.replaceChildren(buttons);
    this.previousButton = nav.querySelector(".previous");
    this.nextButton = nav.querySelector(".next");
    this.previousButton.addEventListener("click", () => this.#turn(() => this.paths.pop()));
    this.nextButton.addEventListener("click", () => this.#turn(() => this.paths.push(this.next)));
  }

  get isFirst() {
    return this.paths.length === 1;
  }

  open(path) {
    this.paths = [path];
    return this.refresh();
  }

  /** The present page once more. */
  async refresh() {
    const path = this.paths.at(-1);
    const next = await this.load(path);
    if (path !== this.paths.at(-1)) return; // another was opened meanwhile
    this.next = next || null;
    this.previousButton.disabled = this.isFirst;
    this.nextButton.disabled = !this.next;
    this.nav.querySelector(".where").textContent = `page ${this.paths.length}`;
    this.nav.hidden = this.isFirst && !this.next;
  }

  async #turn(change) {
    const before = [...this.paths];
    const pressed = document.activeElement;
    change();
    this.nextButton.disabled = true;
    this.previousButton.disabled = true;
    try {
      await this.refresh();
      // A button that has just gone dead would take the focus with it.
      (pressed.disabled ? this.#otherThan(pressed) : pressed).focus({ preventScroll: true });
      this.nav.parentElement.querySelector("ul").scrollIntoView({ block: "start" });
    } catch (error) {
      this.paths = before;
      this.previousButton.disabled = this.isFirst;
      this.nextButton.disabled = !this.next;
      this.nav.querySelector(".where").textContent = error.message;
    }
  }

  #otherThan(button) {
    return button === this.nextButton ? this.previousButton : this.nextButton;
  }
}
