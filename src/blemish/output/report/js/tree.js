// The number of types: the tree of the descriptors with a cut, and the two ways of grouping of the run.
const tree = find("#tree");
const cutHandle = find("#cut");

function buildTree() {
  const ways = [["run", data.view]];
  if (data.other) ways.push(["other", data.other.view]);
  find("#groupings").append(
    ...ways.map(([value, name]) => groupingChoice(value, t(`view_${name}`, { types: count("types", typesOf(value)) }))),
    data.tree ? groupingChoice("cut", t("view_cut")) : "",
  );
  find("#view-reason").textContent = data.view_reason ?? "";
  if (!data.tree) {
    find("#tree-part").hidden = true;
    return;
  }
  const most = data.tree.leaves.length;
  Object.assign(cutHandle, { min: 2, max: most, step: 1 });
  state.types = Math.min(most, Math.max(2, typesOf("run")));
  cutHandle.addEventListener("input", perFrame(() => update({ grouping: "cut", types: Number(cutHandle.value), filter: "all" })));
  find("#take-groups").addEventListener("click", takeGroups);
  find("#grouping-reset").addEventListener("click", () => update({ grouping: "run", filter: "all" }));
}

function groupingChoice(value, text) {
  const input = make("input", { type: "radio", name: "grouping", id: `grouping-${value}`, value, onchange: () => update({ grouping: value, filter: "all" }) });
  return make("span", {}, input, make("label", { htmlFor: `grouping-${value}` }, text));
}

/** Number of types in one of the run's two views. */
function typesOf(which) {
  const labels = which === "run" ? images.map((image) => image.label) : images.map((image) => image.other_label);
  const normal = which === "run" ? data.normal_label : data.other.normal_label;
  return [...new Set(labels)].filter((label) => label >= 0 && label !== (normal ?? UNKNOWN)).length;
}

function showTree() {
  find(`#grouping-${state.grouping}`).checked = true;
  find("#grouping-reset").hidden = state.grouping === "run";
  find("#take-groups").hidden = state.grouping === "run";
  if (!data.tree) return;
  cutHandle.value = state.types;
  find("#cut-text").textContent = count("types", state.types);
  const own = typesOf("run");
  find("#estimate").textContent = `${t(data.n_clusters_setting === "auto" ? "estimate" : "given", { n: own })} ${t(data.tree.estimate === own ? "estimate_agrees" : "estimate_here", { n: data.tree.estimate })}`;
  cutHandle.setAttribute("aria-valuetext", find("#cut-text").textContent);
  drawTree();
  drawGains();
}

/** The merges from the leaves up; the branches below the cut have the colors of their types. */
function drawTree() {
  const { leaves, merges } = data.tree;
  const total = leaves.length;
  const top = merges.at(-1).height || 1;
  const y = (height) => 92 - 86 * Math.sqrt(height / top); // a root scale keeps low merges apart
  const x = leaves.map((_, leaf) => ((leaf + 0.5) * 300) / total);
  const heights = leaves.map(() => 0);
  const typeOf = cutLabels(state.types);
  const types = leaves.map((_, leaf) => typeOf[leaf]);
  const parts = [];
  merges.forEach(({ a, b, height }, m) => {
    const joined = m < total - state.types;
    const color = joined ? page.palette[(types[a] - 1) % page.palette.length] : null;
    const path = svg("path", { d: `M${x[a]} ${y(heights[a])}V${y(height)}H${x[b]}V${y(heights[b])}`, class: joined ? "branch joined" : "branch", "vector-effect": "non-scaling-stroke" });
    if (color && state.grouping === "cut") path.style.stroke = color;
    parts.push(path);
    x.push((x[a] + x[b]) / 2);
    heights.push(height);
    types.push(types[a]);
  });
  const lower = total - state.types - 1 >= 0 ? merges[total - state.types - 1].height : 0;
  const upper = merges[total - state.types]?.height ?? top;
  const at = (y(lower) + y(upper)) / 2;
  parts.push(svg("line", { x1: 0, x2: 300, y1: at, y2: at, class: "limit", "vector-effect": "non-scaling-stroke" }));
  leaves.forEach((size, leaf) => {
    const dot = svg("rect", { x: x[leaf] - 90 / total, width: 180 / total, y: 94, height: 6, fill: state.grouping === "cut" ? page.palette[(typeOf[leaf] - 1) % page.palette.length] : "#888" });
    const title = svg("title");
    title.textContent = count("images", size);
    dot.append(title);
    parts.push(dot);
  });
  tree.replaceChildren(...parts);
}

/** What each further type gains beyond chance: one bar each; those within twice the deviation of chance are pale. */
function drawGains() {
  const { gains, deviations, leaves } = data.tree;
  const top = Math.max(0.001, ...gains);
  const width = 300 / (leaves.length - 1);
  find("#gains").replaceChildren(
    ...leaves.slice(1).flatMap((_, at) => {
      const k = at + 2;
      const gain = gains[at] ?? 0;
      const height = (38 * Math.max(0, gain)) / top;
      const title = svg("title");
      title.textContent = t("gain_bar", { k, gain: number(gain), deviation: number(deviations[at] ?? 0) });
      const real = gain > 2 * (deviations[at] ?? 0);
      const bar = svg("rect", { x: at * width + 1, width: width - 2, y: 40 - height, height, class: real ? "real" : "chance" }, title);
      const label = svg("text", { x: (at + 0.5) * width, y: 52, "text-anchor": "middle", class: k === state.types ? "chosen" : "" });
      label.textContent = k;
      return [bar, label];
    }),
  );
}
