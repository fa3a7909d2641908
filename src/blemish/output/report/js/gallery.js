// The gallery of all images: only the rows of tiles in view are in the document.
const BUFFER = 600; // pixels above and below the window that are kept drawn
const PRINTED = 12; // images per group on paper: thousands of pages help nobody
const grid = find("#grid");
const drawn = new Map(); // index of a row -> its element
let rows = []; // headings and rows of tiles with their place
let order = []; // keys of all tiles in the order of the page
let current = 0; // place in order of the tile that takes the keyboard

const keyOf = (i, k) => (k === null ? `${i}` : `${i}:${k}`);
const parseKey = (key) => {
  const [i, k] = key.split(":").map(Number);
  return { i, k: k ?? null };
};

const SORTS = {
  score: (a, b) => scoreOf(b) - scoreOf(a),
  distance: (a, b) => images[a.i].distance - images[b.i].distance,
  borderline: (a, b) => doubt(a.i) - doubt(b.i),
  name: (a, b) => names.compare(pathOf(a.i), pathOf(b.i)),
};
const names = new Intl.Collator("en", { numeric: true });
const scoreOf = ({ i, k }) => (k === null ? images[i].score : images[i].regions[k].score);

/** How far an image is from the decision between anomalous and normal. */
function doubt(i) {
  const p = images[i].probability;
  return p === undefined ? Math.abs(images[i].score - state.threshold) : Math.abs(p - 0.5);
}

/** The tiles of a group: its regions, or whole images. */
function tilesOf(group) {
  const fits = (i) =>
    (state.attention === "all" || view.attention[i] === state.attention) &&
    (!state.search || pathOf(i).toLowerCase().includes(state.search));
  if (state.layout !== "crop" || group.normal) return group.rows.filter(fits).map((i) => ({ i, k: null }));
  return regionTiles().get(group.label)?.filter(({ i }) => fits(i)) ?? [];
}

/** Regions by group, and whole images where no region has a picture. */
function regionTiles() {
  if (view.regionTiles) return view.regionTiles;
  const lists = new Map();
  const push = (label, tile) => {
    if (!lists.has(label)) lists.set(label, []);
    lists.get(label).push(tile);
  };
  images.forEach((image, i) => {
    if (view.labels[i] === NORMAL) return;
    const pictured = image.regions.map((region, k) => ({ i, k })).filter(({ k }) => source(image.regions[k].crop));
    if (pictured.length) pictured.forEach((tile) => push(regionLabel(i, tile.k), tile));
    else push(view.labels[i], { i, k: null });
  });
  view.regionTiles = lists;
  return lists;
}

/** Arrange all tiles for the width of the window. */
function arrange() {
  const width = grid.clientWidth || 800;
  const list = state.layout === "list";
  const columns = list ? 1 : Math.max(2, Math.floor(width / (width < 500 ? 108 : 158)));
  const tileHeight = list ? 44 : Math.floor(width / columns) + 34;
  rows = [];
  order = [];
  let top = 0;
  for (const group of view.groups) {
    if (state.filter !== "all" && group.label !== state.filter) continue;
    const tiles = tilesOf(group).sort((a, b) => SORTS[state.sort](a, b) || a.i - b.i);
    if (!tiles.length && state.filter === "all") continue;
    rows.push({ kind: "heading", group, tiles, top, height: 76 });
    top += 76;
    for (let at = 0; at < tiles.length; at += columns) {
      rows.push({ kind: "tiles", group, tiles: tiles.slice(at, at + columns), first: order.length, top, height: tileHeight });
      order.push(...tiles.slice(at, at + columns).map(({ i, k }) => keyOf(i, k)));
      top += tileHeight;
    }
  }
  grid.style.height = `${Math.max(top, 60)}px`;
  grid.style.setProperty("--columns", columns);
  grid.dataset.layout = state.layout;
  current = Math.min(current, Math.max(0, order.length - 1));
  for (const element of drawn.values()) element.remove();
  drawn.clear();
  find("#shown").textContent = order.length ? (state.layout === "crop" ? count("pictures", order.length) : count("images", order.length)) : t("nothing_shown");
  drawRows();
}

/** Draw the rows near the window, and take the others out of the document. */
function drawRows() {
  const offset = grid.getBoundingClientRect().top;
  const from = -BUFFER;
  const to = window.innerHeight + BUFFER;
  let low = 0;
  let high = rows.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (offset + rows[middle].top + rows[middle].height < from) low = middle + 1;
    else high = middle;
  }
  const wanted = new Set();
  for (let at = low; at < rows.length && offset + rows[at].top < to; at++) wanted.add(at);
  for (const [at, element] of drawn) {
    if (wanted.has(at) || element.contains(document.activeElement)) continue;
    element.remove();
    drawn.delete(at);
  }
  for (const at of wanted) {
    if (drawn.has(at)) continue;
    const row = rows[at];
    const element = row.kind === "heading" ? heading(row) : tileRow(row);
    element.style.transform = `translateY(${row.top}px)`;
    element.style.height = `${row.height}px`;
    drawn.set(at, element);
    grid.append(element);
  }
}

function heading({ group, tiles }) {
  const mean = meanMap(group.rows);
  mean?.setAttribute("aria-label", t("mean_map", { name: group.name }));
  const amount = state.layout === "crop" && !group.normal ? count("tiles", tiles.length) : count("images", tiles.length);
  return make(
    "div",
    { className: "row heading", style: { borderColor: group.color } },
    badge(group),
    make("h3", {}, group.name),
    make("span", { className: "note" }, amount),
    state.grouping === "run" && tiles.length ? button(t("select_all"), () => select(tiles.map(({ i, k }) => keyOf(i, k)), true), { className: "quiet" }) : null,
    mean,
  );
}

function tileRow({ group, tiles, first }) {
  return make("div", { className: "row tiles", role: "listbox", "aria-multiselectable": "true", "aria-label": group.name }, ...tiles.map((tile, at) => tileOf(tile, group, first + at)));
}

function tileOf({ i, k }, group, place) {
  const key = keyOf(i, k);
  const image = images[i];
  const selected = state.selected.has(key);
  const marks = [];
  if (view.attention[i] === "check") marks.push(make("span", { className: "mark-check", title: t("attention_check") }, "?"));
  if (view.corrected.wrongOutline.has(i)) marks.push(make("span", { className: "mark-wrong", title: t("wrong_outline") }, "!"));
  const label = [pathOf(i), group.name, t("score_is", { score: number(scoreOf({ i, k })) }), ...(view.attention[i] === "check" ? [t("attention_check")] : [])];
  const element = make(
    "div",
    {
      className: "tile", role: "option", tabIndex: place === current ? 0 : -1, "aria-selected": String(selected),
      "aria-label": label.join(", "), dataset: { key, place }, style: { borderColor: group.color },
    },
    frame(i, state.layout === "crop" ? k : null, group),
    make("span", { className: "tick", "aria-hidden": "true", title: t("select") }, selected ? "✓" : ""),
    make("span", { className: "caption" }, make("bdi", { className: "path", title: pathOf(i) }, pathOf(i)), make("span", { className: "score" }, number(scoreOf({ i, k })), ...marks)),
  );
  if (state.layout === "list") {
    element.append(make("span", { className: "cells" }, make("span", {}, badge(group), ` ${group.name}`), make("span", {}, t(view.anomalous[i] ? "anomalous" : "normal")), make("span", { className: "wide" }, `${image.width} × ${image.height}`)));
  }
  return element;
}

const placeOf = (target) => {
  const tile = target.closest?.(".tile");
  return tile ? Number(tile.dataset.place) : null;
};

grid.addEventListener("click", (event) => {
  const place = placeOf(event.target);
  if (place === null) return;
  if (event.shiftKey) selectRange(current, place);
  else if (event.ctrlKey || event.metaKey || event.target.closest(".tick")) {
    current = place;
    select([order[place]]);
  } else {
    current = place;
    openViewer(place);
  }
});

grid.addEventListener("keydown", (event) => {
  const columns = Number(grid.style.getPropertyValue("--columns"));
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, PageUp: -4 * columns, PageDown: 4 * columns, Home: -Infinity, End: Infinity };
  if (placeOf(event.target) === null || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key in steps) {
    const next = Math.min(order.length - 1, Math.max(0, current + steps[event.key]));
    if (event.shiftKey) select(order.slice(Math.min(current, next), Math.max(current, next) + 1), true);
    focusTile(next);
  } else if (event.key === "Enter") openViewer(current);
  else if (event.key === " " || event.key === "x") select([order[current]]);
  else return;
  event.preventDefault();
});

/** Give the keyboard to a tile, scrolled into view. */
function focusTile(place) {
  const row = rows.find((one) => one.kind === "tiles" && place >= one.first && place < one.first + one.tiles.length);
  if (!row) return;
  current = place;
  const top = grid.getBoundingClientRect().top + row.top;
  const room = find("#toolbar").offsetHeight + 8;
  if (top < room) window.scrollBy(0, top - room);
  else if (top + row.height > window.innerHeight - 70) window.scrollBy(0, top + row.height - window.innerHeight + 80);
  drawRows();
  for (const tile of grid.querySelectorAll(".tile")) tile.tabIndex = Number(tile.dataset.place) === place ? 0 : -1;
  find(`.tile[data-place="${place}"]`, grid)?.focus({ preventScroll: true });
}

/** Select tiles, or the opposite of what they are. */
function select(keys, on) {
  for (const key of keys) {
    if (on ?? !state.selected.has(key)) state.selected.add(key);
    else state.selected.delete(key);
  }
  showSelection();
}

function selectRange(from, to) {
  select(order.slice(Math.min(from, to), Math.max(from, to) + 1), true);
}

function showSelection() {
  for (const tile of grid.querySelectorAll(".tile")) {
    const on = state.selected.has(tile.dataset.key);
    tile.setAttribute("aria-selected", String(on));
    find(".tick", tile).textContent = on ? "✓" : "";
  }
  showReviewBar();
}

/** Rows of the selected images, each once. */
const selectedRows = () => [...new Set([...state.selected].map((key) => parseKey(key).i))];

// Toolbar

function choices(name, key, values, change) {
  return make(
    "fieldset",
    { className: "choices" },
    make("legend", {}, t(name)),
    ...values.map((value) => {
      const id = `${key}-${value}`;
      const input = make("input", { type: "radio", name: key, id, value, checked: state[key] === value, onchange: () => change(value) });
      return make("span", {}, input, make("label", { htmlFor: id }, t(`${key}_${value}`)));
    }),
  );
}

function buildToolbar() {
  const group = make("select", { id: "filter", "aria-label": t("filter_label"), onchange: () => update({ filter: group.value === "all" ? "all" : Number(group.value) }) });
  const attention = make("select", { id: "filter-attention", "aria-label": t("attention_label"), onchange: () => update({ attention: attention.value }) });
  const sort = make("select", { id: "sort", "aria-label": t("sort_label"), onchange: () => update({ sort: sort.value }) });
  sort.append(...Object.keys(SORTS).map((value) => make("option", { value }, t(`sort_${value}`))));
  const search = make("input", { type: "search", id: "search", placeholder: t("search"), "aria-label": t("search_label"), oninput: () => update({ search: search.value.trim().toLowerCase() }) });
  const toggle = (key, text) => button(t(text), () => toggleLayer(key), { id: `toggle-${key}`, className: "toggle", "aria-pressed": String(state[key]) });
  find("#toolbar").append(
    group, attention, sort, search,
    choices("layout", "layout", ["crop", "whole", "list"], (layout) => update({ layout })),
    toggle("heat", "heat_map"), toggle("outlines", "outlines"), heatScale(),
    make("span", { id: "shown", className: "note", "aria-live": "polite" }),
  );
}

function toggleLayer(key) {
  state[key] = !state[key];
  find(`#toggle-${key}`).setAttribute("aria-pressed", String(state[key]));
  document.body.classList.toggle("no-outlines", !state.outlines);
  document.body.classList.toggle("with-heat", state.heat);
  showCards();
  arrange();
}

function showToolbar() {
  const option = (value, text) => make("option", { value }, text);
  const filter = find("#filter");
  filter.replaceChildren(option("all", t("all_groups")), ...view.groups.map((group) => option(group.label, `${group.name} (${integer(group.rows.length)})`)));
  filter.value = String(state.filter);
  const kinds = someChecks ? ["certain", "check", "normal"] : ["certain", "normal"];
  const attention = find("#filter-attention");
  attention.replaceChildren(option("all", t("any_attention")), ...kinds.map((kind) => option(kind, t(someChecks || kind !== "certain" ? `attention_${kind}` : "anomalous"))));
  attention.value = state.attention;
  find("#sort").value = state.sort;
  const layout = find(`#layout-${state.layout}`);
  if (layout) layout.checked = true;
}

const onScroll = perFrame(() => drawRows());
window.addEventListener("scroll", onScroll, { passive: true });
let lastWidth = 0;
new ResizeObserver(() => {
  if (!view || grid.clientWidth === lastWidth) return;
  lastWidth = grid.clientWidth;
  arrange();
}).observe(grid);

// Printing does not wait for pictures, so what goes on paper is made ready as soon as nothing else is to be done.
let printTimer = 0;

function preparePrint() {
  clearTimeout(printTimer);
  printTimer = setTimeout(() => find("#print").replaceChildren(...view.groups.map(printedGroup)), 700);
}

/** The most typical images of a group. */
function printedGroup(group) {
  const tiles = group.rows.map((i) => ({ i, k: null })).sort(SORTS.distance).slice(0, PRINTED);
  return make(
    "section",
    {},
    make("h3", {}, badge(group), group.name, make("span", { className: "note" }, count("images", group.rows.length))),
    make("div", { className: "printed" }, ...tiles.map(({ i, k }) => make("figure", {}, frame(i, k, group), make("figcaption", {}, `${pathOf(i)}, ${number(images[i].score)}`)))),
  );
}
