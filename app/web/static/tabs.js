// Tabs as the ARIA practices describe them: one is in the tab order, arrows go to the others.

let tabs = [];
let openPanel = () => {};

/** `opened` is told the panel's name, as in `panel-<name>`. */
export function prepareTabs(list, opened) {
  openPanel = opened;
  tabs = [...list.querySelectorAll("[role=tab]")];
  for (const tab of tabs) tab.addEventListener("click", () => select(tab));
  list.addEventListener("keydown", (event) => {
    const enabled = tabs.filter((tab) => !tab.disabled);
    const at = enabled.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const tab = enabled.at(to % enabled.length);
    tab.focus();
    select(tab);
  });
}

export function selectTab(id) {
  const tab = document.getElementById(id);
  if (tab.getAttribute("aria-selected") !== "true") select(tab);
}

function select(chosen) {
  for (const tab of tabs) {
    const is = tab === chosen;
    tab.setAttribute("aria-selected", String(is));
    tab.tabIndex = is ? 0 : -1;
    document.getElementById(tab.getAttribute("aria-controls")).hidden = !is;
  }
  openPanel(chosen.id.replace("tab-", ""));
}
