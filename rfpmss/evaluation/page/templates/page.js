"use strict";
// Works without this script; it adds sorting by column, sliders over images and a switch between light and dark.
(() => {
  const root = document.documentElement;
  const number = (cell) => {
    const value = parseFloat(cell.dataset.value ?? cell.textContent.replace(/,/g, ""));
    return Number.isNaN(value) ? null : value;
  };
  const compare = (a, b) => {
    const [x, y] = [number(a), number(b)];
    if (x !== null && y !== null) return x - y;
    if (x !== null || y !== null) return x === null ? -1 : 1;
    return a.textContent.localeCompare(b.textContent);
  };
  for (const head of document.querySelectorAll("table.sortable th[aria-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      // Numbers start with the largest, words with the first; a second click turns it round.
      const now = head.getAttribute("aria-sort");
      const next = now === "none" ? !head.classList.contains("num") : now === "descending";
      const body = head.closest("table").tBodies[0];
      const column = head.cellIndex;
      const rows = [...body.rows];
      rows.sort((a, b) => (next ? 1 : -1) * compare(a.cells[column], b.cells[column]));
      body.append(...rows);
      for (const other of head.parentElement.cells)
        if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", next ? "ascending" : "descending");
    });
  }
  const attention = document.getElementById("attention-switch");
  if (attention) {
    attention.closest("[hidden]").hidden = false;
    attention.addEventListener("change", () => {
      root.classList.toggle("no-heat", !attention.checked);
    });
  }
  for (const scan of document.querySelectorAll(".scan")) {
    const slices = [...scan.querySelectorAll(":scope > .slice")];
    if (slices.length < 2) continue;
    const slider = document.createElement("input");
    slider.type = "range";
    slider.min = "1";
    slider.max = String(slices.length);
    slider.value = "1";
    slider.setAttribute("aria-label", scan.getAttribute("aria-label"));
    const show = () => {
      slices.forEach((slice, i) => { slice.hidden = i !== slider.valueAsNumber - 1; });
      slider.setAttribute(
        "aria-valuetext", slices[slider.valueAsNumber - 1].querySelector("figcaption").textContent);
    };
    slider.addEventListener("input", show);
    scan.insertBefore(slider, slices[0]);
    show();
  }
  const theme = document.getElementById("theme");
  const dark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
  label();
})();
