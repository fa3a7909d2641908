// The scatter plot of the descriptors, drawn by plotly.js, which is loaded when the plot is first opened.
const scatter = find("#scatter");
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "pentagon", "hexagon", "triangle-down"];
let projection = "tsne";
let libraryState = "none"; // none, loading, ready, failed
let scatterTimer = 0;

function buildScatter() {
  const panel = find("#scatter-panel");
  panel.addEventListener("toggle", () => panel.open && loadLibrary());
  for (const name of ["tsne", "pca"]) {
    find(`#projection-${name}`).addEventListener("change", () => {
      projection = name;
      drawScatter();
    });
  }
  find("#wide").addEventListener("click", () => {
    const wide = find("#work").classList.toggle("wide");
    find("#wide").setAttribute("aria-pressed", String(wide));
    if (libraryState === "ready") Plotly.Plots.resize(scatter);
  });
}

function loadLibrary() {
  if (libraryState !== "none") return;
  libraryState = "loading";
  const script = document.createElement("script");
  const inert = find("#library");
  if (inert) {
    script.textContent = inert.textContent;
    document.head.append(script); // runs at once
    libraryReady();
    return;
  }
  script.src = "report_files/plotly.min.js";
  script.addEventListener("load", libraryReady);
  script.addEventListener("error", () => {
    libraryState = "failed";
    scatter.textContent = t("no_library");
  });
  document.head.append(script);
}

function libraryReady() {
  libraryState = typeof Plotly === "object" ? "ready" : "failed";
  drawScatter();
}

/** Draw the plot soon; several changes in a row draw it once. */
function showScatter() {
  clearTimeout(scatterTimer);
  if (libraryState === "ready") scatterTimer = setTimeout(drawScatter, 120);
}

function drawScatter() {
  if (libraryState !== "ready") return;
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink").trim();
  const traces = view.groups
    .filter((group) => group.rows.length)
    .map((group) => ({
      type: "scatter",
      mode: "markers",
      name: escaped(group.name),
      x: group.rows.map((i) => images[i][projection][0]),
      y: group.rows.map((i) => images[i][projection][1]),
      customdata: group.rows,
      hoverinfo: "none",
      selectedpoints: state.selected.size ? group.rows.flatMap((i, at) => (state.selected.has(String(i)) ? [at] : [])) : null,
      marker: { color: group.color, size: images.length > 2000 ? 5 : 8, symbol: group.normal ? "circle-open" : SYMBOLS[group.shape] ?? "x", line: { width: group.normal ? 1 : 0.5, color: group.normal ? group.color : ink } },
      unselected: { marker: { opacity: 0.25 } },
    }));
  const axis = { visible: false, zeroline: false };
  const layout = {
    dragmode: "lasso", hovermode: "closest", margin: { l: 4, r: 4, t: 4, b: 4 }, xaxis: axis, yaxis: { ...axis, scaleanchor: "x" },
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink }, legend: { orientation: "h", y: -0.02 }, uirevision: projection,
    newselection: { line: { color: ink } },
  };
  const first = !scatter.classList.contains("js-plotly-plot");
  scatter.classList.add("ready");
  if (first) scatter.replaceChildren();
  Plotly.react(scatter, traces, layout, { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["toImage", "autoScale2d"] });
  if (!first) return;
  scatter.on("plotly_hover", ({ points, event }) => showTip(points[0].customdata, event));
  scatter.on("plotly_unhover", () => (find("#tip").hidden = true));
  scatter.on("plotly_click", ({ points }) => openImage(points[0].customdata));
  scatter.on("plotly_selected", (event) => event?.points && selectImages(event.points.map((point) => point.customdata)));
  scatter.on("plotly_deselect", () => selectImages([]));
}

/** Plotly reads some markup in names; as references none of it remains. */
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/** Show an image beside the pointer. */
function showTip(i, event) {
  const tip = find("#tip");
  tip.replaceChildren(frame(i, null, view.byLabel.get(view.labels[i])), make("bdi", {}, pathOf(i)), make("span", { className: "note" }, t("score_is", { score: number(images[i].score) })));
  tip.hidden = false;
  tip.style.left = `${Math.min(event.clientX + 14, window.innerWidth - 190)}px`;
  tip.style.top = `${Math.min(event.clientY + 14, window.innerHeight - 230)}px`;
}

/** Select images by row, in place of what was selected, and show them whole. */
function selectImages(chosen) {
  state.selected = new Set(chosen.map(String));
  if (chosen.length && state.layout === "crop") update({ layout: "whole", filter: "all", attention: "all" });
  else showSelection();
  if (chosen.length) announce(t("selected", { n: integer(chosen.length) }));
}

function openImage(i) {
  const place = order.findIndex((key) => parseKey(key).i === i);
  if (place < 0) {
    update({ filter: "all", attention: "all", search: "" });
    find("#search").value = "";
  }
  openViewer(place < 0 ? order.findIndex((key) => parseKey(key).i === i) : place);
}
