// The state of the page, and everything that follows from it: verdicts, groups and attention of the images.
const NORMAL = -100; // label of the normal group in every grouping
const UNLIKE = -1; // unlike every type
const UNSORTED = -2; // anomalous, but of no type
const UNKNOWN = null;

const state = {
  threshold: data.threshold ?? Infinity,
  grouping: "run", // run, other or cut
  types: 0, // number of types of the cut
  filter: "all", // all, or the label of a group
  attention: "all", // all, certain, check, normal
  search: "",
  sort: "score",
  layout: "crop", // crop, whole or list
  heat: false,
  outlines: true,
  selected: new Set(), // keys of tiles
};

const listeners = [];
let view = null; // what follows from the state; see derive()

/** Call a function after each change of verdicts or groups. */
function onChange(listener) {
  listeners.push(listener);
}

/** Change the state and bring everything on the page up to date. */
function update(changes = {}) {
  Object.assign(state, changes);
  view = derive();
  if (state.filter !== "all" && !view.byLabel.has(state.filter)) state.filter = "all";
  for (const listener of listeners) listener();
}

const runNormal = data.normal_label ?? UNKNOWN;
const toLabel = (label, normal) => (label === normal ? NORMAL : label);

/** Labels of all images in the chosen grouping, before threshold and corrections. */
function baseLabels() {
  if (state.grouping === "other") {
    return images.map((image) => toLabel(image.other_label, data.other.normal_label ?? UNKNOWN));
  }
  if (state.grouping === "cut") {
    const typeOf = cutLabels(state.types);
    return images.map((image) => (image.leaf !== undefined ? typeOf[image.leaf] : Math.min(toLabel(image.label, runNormal), UNLIKE)));
  }
  return images.map((image) => toLabel(image.label, runNormal));
}

/** Type 1, 2, ... of each leaf when the tree is cut into k types, by falling number of images. */
function cutLabels(k) {
  const { leaves, merges } = data.tree;
  const up = Array.from({ length: leaves.length + merges.length }, (_, node) => node);
  for (let m = leaves.length - k - 1; m >= 0; m--) up[merges[m].a] = up[merges[m].b] = up[leaves.length + m];
  const sizes = new Map();
  leaves.forEach((size, leaf) => sizes.set(up[leaf], (sizes.get(up[leaf]) ?? 0) + size));
  const order = [...sizes].sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(([node]) => node);
  return leaves.map((_, leaf) => order.indexOf(up[leaf]) + 1);
}

/** Everything that follows from the state. */
function derive() {
  const base = baseLabels();
  const labels = new Array(images.length);
  const anomalous = new Array(images.length);
  images.forEach((image, i) => {
    anomalous[i] = state.threshold === (data.threshold ?? Infinity) ? image.anomalous : image.score > state.threshold;
    if (anomalous[i] === image.anomalous) labels[i] = base[i];
    else if (!anomalous[i]) labels[i] = NORMAL;
    else labels[i] = base[i] === NORMAL && image.nearest !== undefined ? base[image.nearest] : base[i];
    if (anomalous[i] && labels[i] === NORMAL) labels[i] = UNSORTED; // never shown among the normal ones
  });
  const corrected = state.grouping === "run" ? applyCorrections(labels, anomalous) : noCorrections();
  const found = { labels, anomalous, corrected, attention: images.map((_, i) => attentionOf(i, anomalous[i], corrected)) };
  found.groups = groupsOf(found);
  found.byLabel = new Map(found.groups.map((group) => [group.label, group]));
  return found;
}

const someChecks = images.some((image) => image.needs_check || image.probability !== undefined);

/** certain, check or normal: what the run said, unless a person or another threshold has decided. */
function attentionOf(i, anomalous, corrected) {
  const decided = corrected.decided.has(i) || anomalous !== images[i].anomalous;
  if (!decided && images[i].needs_check) return "check";
  return anomalous ? "certain" : "normal";
}

/** The groups that have images: types by label, then what is of no type, then the normal group. */
function groupsOf({ labels, corrected }) {
  const members = new Map();
  labels.forEach((label, i) => {
    if (!members.has(label)) members.set(label, []);
    members.get(label).push(i);
  });
  const place = (label) => (label === NORMAL ? Infinity : label < 0 ? 1e9 - label : label);
  return [...members]
    .sort(([a], [b]) => place(a) - place(b))
    .map(([label, rows]) => ({ label, rows, ...appearance(label, corrected) }));
}

/** Name, color, number and shape of a group. */
function appearance(label, corrected) {
  if (label === NORMAL) return { name: corrected.names.get(NORMAL) ?? t("normal"), color: "#969696", number: "", shape: -1, normal: true };
  if (label < 0) return { name: t(label === UNLIKE ? "unlike" : "unsorted"), color: page.other_color, number: "?", shape: -1, normal: false };
  const first = state.grouping === "cut" ? 1 : (state.grouping === "other" ? data.other.normal_label : data.normal_label) ?? UNKNOWN;
  const rank = state.grouping === "cut" ? label - 1 : label - (first !== UNKNOWN && label > first ? 1 : 0);
  const own = state.grouping === "run" ? groups.find((group) => group.label === label)?.name : undefined;
  const name = corrected.names.get(label) ?? own ?? t("type", { n: rank + 1 });
  return { name, color: page.palette[rank % page.palette.length], number: String(rank + 1), shape: rank % SHAPES.length, normal: false };
}

/** Whether a group is a type: neither normal, nor unsorted, nor unlike every type. */
const isType = (group) => group.label >= 0;

/** Group of one region: its own type in the run's grouping, else that of its image. */
function regionLabel(i, k) {
  const moved = view.corrected.regions.get(`${i}:${k}`);
  if (moved !== undefined) return moved;
  const image = images[i];
  const label = image.regions[k].label;
  if (state.grouping !== "run" || label === image.label || view.labels[i] < 0 || view.corrected.moved.has(i)) return view.labels[i];
  if (label < 0) return UNLIKE;
  return view.corrected.merged.get(toLabel(label, runNormal)) ?? toLabel(label, runNormal);
}

/** The medians over the images of a group that its words are made from; null if nothing was measured. */
function lookOf(rows) {
  const looks = rows.map((i) => images[i].look).filter((look) => look);
  if (!looks.length) return null;
  const of = (name) => median(looks.map((look) => look[name]).filter((value) => value !== undefined));
  return {
    area: of("area"),
    regions: Math.round(of("regions")),
    elongation: of("elongation"),
    border: looks.filter((look) => look.border).length * 2 >= looks.length,
    lightness: of("lightness"),
    mixed: looks.filter((look) => look.mixed).length * 2 >= looks.length,
    color: of("color"),
    measured: looks.length,
  };
}

/** The image that shows a group best: the one nearest to its center. */
function typicalOf(rows) {
  const pictured = rows.filter((i) => source(images[i].photo));
  const among = pictured.length ? pictured : rows;
  return among.reduce((best, i) => (best === null || images[i].distance < images[best].distance ? i : best), null);
}
