// The page is complete without this script, which only adds larger pictures, and sorting and filtering of the table.
"use strict";
(() => {
  const make = (tag, properties) => Object.assign(document.createElement(tag), properties);

  // larger pictures
  const dialog = document.querySelector("dialog");
  const figures = [...document.querySelectorAll("figure")];
  let current = 0;
  function show(index) {
    current = (index + figures.length) % figures.length;
    const figure = figures[current];
    const group = figure.closest(".group").querySelector("h3").firstElementChild.nextSibling.textContent.trim();
    const caption = figure.querySelector(".score").textContent;
    dialog.querySelector("#large-title").textContent = `${figure.querySelector(".path").textContent} (${group}, ${caption})`;
    dialog.querySelector(".pair").replaceChildren(...[...figure.querySelectorAll("img")].map((img) => img.cloneNode()));
    if (!dialog.open) dialog.showModal();
  }
  figures.forEach((figure, index) => {
    const frame = figure.querySelector(".frame");
    const button = make("button", { type: "button", className: "frame" });
    button.append(...frame.children);
    button.addEventListener("click", () => show(index));
    frame.replaceWith(button);
  });
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.querySelector(".previous").addEventListener("click", () => show(current - 1));
  dialog.querySelector(".next").addEventListener("click", () => show(current + 1));
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") show(current - 1);
    if (event.key === "ArrowRight") show(current + 1);
  });

  // sorting
  const body = document.querySelector("tbody");
  const heads = [...document.querySelectorAll("thead th")];
  const value = (row, column) => {
    const cell = row.children[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  heads.forEach((head, column) => {
    const button = make("button", { type: "button", textContent: head.textContent });
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending" ||
        (head.getAttribute("aria-sort") === null && !head.classList.contains("n"));
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [value(row, column), row]);
      const order = new Intl.Collator(undefined, { numeric: true }).compare;
      rows.sort(([a], [b]) => (up ? 1 : -1) * (typeof a === "number" ? a - b : order(a, b)));
      body.append(...rows.map(([, row]) => row));
    });
    head.replaceChildren(button);
  });

  // filter
  const text = make("input", { type: "search", placeholder: "Part of a path" });
  text.setAttribute("aria-label", "Show only images whose path contains");
  const group = make("select", {});
  group.setAttribute("aria-label", "Show only images of");
  group.append(make("option", { value: "", textContent: "all groups" }));
  const seen = new Map([...body.rows].map((row) => [row.dataset.group, row.children[1].textContent]));
  [...seen].sort((a, b) => a[0] - b[0]).forEach(([value, name]) => group.append(make("option", { value, textContent: name })));
  const count = make("span", { className: "note" });
  count.setAttribute("aria-live", "polite");
  function filter() {
    let shown = 0;
    for (const row of body.rows) {
      const fits = (!group.value || row.dataset.group === group.value) &&
        row.children[0].textContent.toLowerCase().includes(text.value.toLowerCase());
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown === body.rows.length ? "" : `${shown} of ${body.rows.length} rows`;
  }
  text.addEventListener("input", filter);
  group.addEventListener("input", filter);
  const bar = make("div", { className: "filter" });
  bar.append(text, group, count);
  document.querySelector(".table").before(bar);

  document.documentElement.classList.add("js");
})();
