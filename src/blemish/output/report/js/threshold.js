// The histogram of the scores, with a handle at the threshold.
const histogram = find("#histogram");
const handle = find("#threshold");
const topScore = data.histogram.edges.at(-1);
const STEPS = 1000;

function buildThreshold() {
  Object.assign(handle, { min: 0, max: STEPS, step: 1 });
  handle.addEventListener("input", perFrame(() => setThreshold((Number(handle.value) / STEPS) * topScore)));
  find("#threshold-value").addEventListener("change", (event) => {
    const value = Number(event.target.value);
    if (event.target.value !== "" && Number.isFinite(value) && value >= 0) setThreshold(value);
    else showThreshold();
  });
  find("#threshold-reset").addEventListener("click", () => update({ threshold: data.threshold ?? Infinity }));
}

/** Move the threshold; close to the run's own one it snaps to it, so that its verdicts come back exactly. */
function setThreshold(value) {
  const own = data.threshold ?? Infinity;
  update({ threshold: Math.abs(value - own) <= topScore / STEPS / 1.5 ? own : value });
}

function showThreshold() {
  const at = Math.min(1, state.threshold / topScore);
  handle.value = Math.round(at * STEPS);
  const anomalous = view.anomalous.filter(Boolean).length;
  const text = t("threshold_text", { threshold: number(state.threshold), n: integer(anomalous), images: integer(images.length) });
  handle.setAttribute("aria-valuetext", text);
  find("#threshold-text").textContent = text;
  find("#threshold-value").value = Number.isFinite(state.threshold) ? Number(state.threshold.toPrecision(4)) : "";
  find("#threshold-reset").hidden = state.threshold === (data.threshold ?? Infinity);
  drawHistogram(at);
}

function drawHistogram(at) {
  const { edges } = data.histogram;
  const bins = edges.length - 1;
  const counts = Array.from({ length: bins }, () => [0, 0]);
  images.forEach((image, i) => {
    const bin = Math.min(bins - 1, Math.max(0, Math.floor((image.score / topScore) * bins)));
    counts[bin][view.anomalous[i] ? 1 : 0] += 1;
  });
  const tallest = Math.max(1, ...counts.map(([a, b]) => a + b));
  const width = 300 / bins;
  const bars = counts.flatMap(([normal, anomalous], bin) => {
    const title = svg("title");
    title.textContent = t("bin", { low: number(edges[bin]), high: number(edges[bin + 1]), normal, anomalous });
    const bar = (amount, base, className) =>
      svg("rect", { x: bin * width + 0.5, width: width - 1, y: 100 - (100 * (base + amount)) / tallest, height: (100 * amount) / tallest, class: className });
    return normal + anomalous ? [svg("g", {}, title, bar(normal, 0, "low"), bar(anomalous, normal, "high"))] : [];
  });
  const line = (place, className) => svg("line", { x1: 300 * place, x2: 300 * place, y1: 0, y2: 100, class: className, "vector-effect": "non-scaling-stroke" });
  const own = data.threshold === undefined ? [] : [line(Math.min(1, data.threshold / topScore), "own")];
  histogram.replaceChildren(...bars, ...own, line(at, "limit"));
}
