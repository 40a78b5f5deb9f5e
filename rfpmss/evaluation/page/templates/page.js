"use strict";
// Works without this script; it adds sorting by column, a hint at wide tables and a switch between light and dark.
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
  // A table that is wider than its place says so.
  const wide = new ResizeObserver((entries) => requestAnimationFrame(() => {
    for (const { target } of entries)
      target.classList.toggle("wider", target.scrollWidth > target.clientWidth + 1);
  }));
  for (const part of document.querySelectorAll(".scroll")) wide.observe(part);
  const theme = document.getElementById("theme");
  const dark = () => root.dataset.theme
    ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  const label = () => { theme.textContent = dark() ? "Light" : "Dark"; };
  theme.hidden = false;
  theme.addEventListener("click", () => { root.dataset.theme = dark() ? "light" : "dark"; label(); });
  label();
})();
