"use strict";
// Images of patients: slices by slider, wheel and keys, window and level, attention, keys for the next patient, search.
(() => {
  const root = document.documentElement;
  const STEP = 32, ZERO = 128; // Grey values of a standard deviation, and of the mean.
  const make = (tag, about = {}) => Object.assign(document.createElement(tag), about);
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  const opacity = document.getElementById("opacity");
  if (opacity) {
    const amount = opacity.querySelector("input");
    opacity.hidden = false;
    const set = () => root.style.setProperty("--heat", String(amount.valueAsNumber / 100));
    amount.addEventListener("input", set);
    set();
  }

  const turn = (viewer, groups) => {
    const count = Math.max(0, ...groups.map((slices) => slices.length));
    if (count < 2) return;
    const slider = make("input", { type: "range", min: "1", max: String(count), value: "1", className: "turn" });
    slider.setAttribute("aria-label", `Image of ${viewer.getAttribute("aria-label")}`);
    const show = () => {
      const at = slider.valueAsNumber - 1;
      for (const slices of groups) slices.forEach((slice, i) => { slice.hidden = i !== at; });
      const shown = groups.find((slices) => slices[at])[at];
      slider.setAttribute("aria-valuetext", shown.querySelector("figcaption").textContent);
    };
    slider.addEventListener("input", show);
    for (const image of viewer.querySelectorAll(".slice .image"))
      image.addEventListener("wheel", (event) => {
        const next = clamp(slider.valueAsNumber + Math.sign(event.deltaY), 1, count);
        if (event.ctrlKey || next === slider.valueAsNumber) return; // At the ends the page scrolls on.
        event.preventDefault();
        slider.value = String(next);
        show();
      }, { passive: false });
    (groups[0][0].closest(".channels") ?? groups[0][0]).before(slider);
    show();
  };

  const shade = (viewer, channels) => {
    const grey = channels.filter((channel) => channel.dataset.filter);
    if (!grey.length) return;
    const presets = "presets" in viewer.dataset;
    const box = make("div", { className: "window" });
    const range = (name, low, high) => {
      const label = make("label", { textContent: `${name} ` });
      const slider = make("input", { type: "range", min: String(low), max: String(high), step: "0.05" });
      const value = make("output");
      label.append(slider, " ", value);
      return { label, slider, value };
    };
    const level = range("Level", -4, 4), width = range("Width", 0.1, 8);
    const back = make("button", { type: "button", textContent: "Reset" });
    let chosen = grey[0];
    const apply = () => {
      const middle = level.slider.valueAsNumber * STEP + ZERO;
      const half = width.slider.valueAsNumber * STEP / 2;
      for (const channel of presets ? [chosen] : grey)
        for (const part of document.getElementById(channel.dataset.filter).querySelectorAll("[slope]")) {
          part.setAttribute("slope", String(255 / (2 * half)));
          part.setAttribute("intercept", String((half - middle) / (2 * half)));
        }
      for (const { slider, value } of [level, width])
        value.textContent = `${slider.valueAsNumber.toFixed(2)} SD`;
    };
    const reset = () => {
      const [low, high] = [Number(chosen.dataset.low), Number(chosen.dataset.high)];
      level.slider.value = String(((low + high) / 2 - ZERO) / STEP);
      width.slider.value = String((high - low) / STEP);
      apply();
    };
    for (const { slider } of [level, width]) slider.addEventListener("input", apply);
    back.addEventListener("click", reset);
    if (presets) {
      const buttons = grey.map((channel) => {
        const button = make("button", { type: "button", textContent: channel.dataset.name });
        button.addEventListener("click", () => choose(channel));
        return button;
      });
      const choose = (channel) => {
        chosen = channel;
        grey.forEach((other, i) => {
          other.hidden = other !== channel;
          buttons[i].setAttribute("aria-pressed", String(other === channel));
        });
        reset();
      };
      box.append(...buttons);
      choose(grey[0]);
    }
    box.append(level.label, width.label, back);
    viewer.querySelector(".channels").before(box);
    for (const channel of grey)
      for (const image of channel.querySelectorAll(".image")) {
        image.classList.add("draggable");
        image.addEventListener("dblclick", reset);
        image.addEventListener("pointerdown", (event) => {
          if (event.pointerType === "touch" || event.button !== 0) return; // A finger scrolls.
          event.preventDefault();
          image.setPointerCapture(event.pointerId);
          const from = [event.clientX, event.clientY, width.slider.valueAsNumber, level.slider.valueAsNumber];
          const move = (now) => {
            width.slider.value = String(from[2] + (now.clientX - from[0]) * 0.02);
            level.slider.value = String(from[3] + (now.clientY - from[1]) * 0.02);
            apply();
          };
          const stop = () => image.removeEventListener("pointermove", move);
          image.addEventListener("pointermove", move);
          image.addEventListener("pointerup", stop, { once: true });
          image.addEventListener("pointercancel", stop, { once: true });
        });
      }
    reset();
  };

  for (const viewer of document.querySelectorAll(".viewer")) {
    const channels = [...viewer.querySelectorAll(".channel")];
    const slices = (part) => [...part.querySelectorAll(":scope > .slice")];
    turn(viewer, channels.length ? channels.map(slices) : [slices(viewer)]);
    shade(viewer, channels);
  }

  for (const part of document.querySelectorAll(".find, .keys")) part.hidden = false;
  const find = document.getElementById("find");
  if (find) {
    const names = [...document.querySelectorAll("#studies option")].map((option) => option.value);
    const go = () => {
      const text = find.value.trim().toLowerCase();
      if (!text) return;
      const like = names.filter((name) => name.toLowerCase().includes(text));
      const same = like.filter((name) => name.toLowerCase() === text);
      const [only] = same.length ? same : like.length === 1 ? like : [];
      if (only) location.assign(`/study/${encodeURIComponent(only)}`);
      else if (like.length) location.assign(`/?find=${encodeURIComponent(find.value.trim())}`);
      document.getElementById("found").textContent = like.length ? "" : "no study of that name";
    };
    find.addEventListener("change", go);
  }
  const filter = document.getElementById("filter");
  if (filter) {
    const rows = [...document.querySelectorAll("table.filtered tbody tr")];
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const show = () => {
      const words = filter.value.toLowerCase().split(/\s+/);
      let left = 0;
      rows.forEach((row, i) => {
        row.hidden = !words.every((word) => texts[i].includes(word));
        left += row.hidden ? 0 : 1;
      });
      document.getElementById("filtered").textContent = `${left} of ${rows.length}`;
    };
    filter.value = new URLSearchParams(location.search).get("find") ?? "";
    filter.addEventListener("input", show);
    show();
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("input[type=search]")) return;
    if (event.key === "p") document.getElementById("before")?.click();
    if (event.key === "n") document.getElementById("after")?.click();
    if (event.key === "a") document.getElementById("attention-switch")?.click();
    if (event.key === "/" && (find ?? filter)) {
      event.preventDefault();
      (find ?? filter).focus();
    }
  });
})();
