"use strict";
(() => {
  const box = document.getElementById("heat");
  const readout = document.getElementById("readout");
  const { labels, totals, cells, cell, margin } = JSON.parse(document.getElementById("heat-data").textContent);
  const svg = box.querySelector("svg");
  const [across, down] = svg.querySelectorAll(".cross");
  const rows = svg.querySelectorAll("text.r");
  const columns = svg.querySelectorAll("text.c");
  const counts = new Map(cells.map(([r, c, n]) => [r * labels.length + c, n]));
  let lit = [];
  readout.textContent = "Point at a cell to read it.";

  function show(event) {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const r = Math.floor((at.y - margin) / cell);
    const c = Math.floor((at.x - margin) / cell);
    lit.forEach((mark) => mark.classList.remove("on"));
    if (!(r in labels) || !(c in labels)) return;
    const n = counts.get(r * labels.length + c) || 0;
    const share = totals[r] ? ` (${Math.round((100 * n) / totals[r])} %)` : "";
    readout.textContent =
      r === c
        ? `${labels[r]}: ${n} of ${totals[r]} right${share}`
        : `${labels[r]} taken for ${labels[c]}: ${n} of ${totals[r]}${share}`;
    across.setAttribute("y", margin + r * cell);
    down.setAttribute("x", margin + c * cell);
    lit = [across, down, rows[r], columns[c]];
    lit.forEach((mark) => mark.classList.add("on"));
  }

  svg.addEventListener("pointermove", show);
  svg.addEventListener("pointerdown", show);
  svg.addEventListener("pointerleave", () => lit.forEach((mark) => mark.classList.remove("on")));
})();
