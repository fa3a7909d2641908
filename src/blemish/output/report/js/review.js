// Corrections by mouse and keyboard; they are kept by the server of `blemish review`, or by the browser until downloaded.
const token = find('meta[name="blemish-review"]')?.content;
const STORE = `blemish-review-${data.run_id}`;
const unsaved = []; // operations that the server has not confirmed
let sending = false;
let revision = null; // number of operations of the server that this page knows of; null until it has asked

/** Add an operation, apply it, and keep it. */
function correct(fields) {
  const one = stamped(fields);
  operations.push(one);
  keep(one);
  update();
  showScatter();
  announce(t(`did_${one.op}`));
}

function undo() {
  const { undo: last } = history();
  if (last) correct({ op: "undo", target: last.id });
}

function redo() {
  const { redo: last } = history();
  if (last) correct({ op: "redo", target: last.id });
}

// Keeping

function keep(one) {
  if (token) {
    unsaved.push(one);
    send();
    return;
  }
  try {
    localStorage.setItem(STORE, JSON.stringify(operations));
  } catch {
    announce(t("not_kept"), true);
  }
}

async function send() {
  if (sending) return;
  sending = true;
  while (unsaved.length) {
    try {
      await sendFirst();
    } catch (error) {
      announce(t("not_saved", { n: unsaved.length, reason: error.message }), true);
      setTimeout(send, 5000);
      break;
    }
  }
  sending = false;
  showReviewBar();
}

/**
 * Send the first unsaved operation. If another window has corrected something meanwhile, its operations come first and this
 * one is sent again, unless unsaved operations make types: their numbers may be those that the other window has given away.
 */
async function sendFirst() {
  if (revision === null) await load();
  const known = revision;
  const answer = await call("api/operations", { method: "POST", body: JSON.stringify(unsaved[0]) });
  if (answer.status === 409 || answer.status === 422) {
    const reason = await reasonOf(answer);
    await load();
    if (revision === known) refuse([unsaved[0]], reason);
    else if (unsaved.some((one) => numbers().made.get(one.id).length)) refuse([...unsaved], reason);
    return;
  }
  if (!answer.ok) throw new Error(await reasonOf(answer));
  const saved = await answer.json();
  unsaved.shift();
  if (saved.revision === known + 1) revision = saved.revision;
  else await load();
}

/** Take back operations that the server does not accept. */
function refuse(list, reason) {
  for (const one of list) {
    operations.splice(operations.indexOf(one), 1);
    unsaved.splice(unsaved.indexOf(one), 1);
  }
  update();
  showScatter();
  announce(t("refused", { reason }), true);
}

/** What the server says about an error, as one short line. */
async function reasonOf(answer) {
  const text = await answer.text();
  try {
    return String(JSON.parse(text).error).slice(0, 300);
  } catch {
    return text.slice(0, 300);
  }
}

function call(address, options = {}) {
  const headers = { "X-Blemish-Token": token, "Content-Type": "application/json" };
  if (revision !== null) headers["X-Blemish-Revision"] = String(revision);
  return fetch(address, { ...options, headers, redirect: "error" });
}

/** Take over what was corrected before: from the server, or from this browser. */
async function loadCorrections() {
  if (token) {
    try {
      await load();
    } catch (error) {
      announce(t("not_loaded", { reason: error.message }), true);
    }
    return;
  }
  try {
    takeOver(JSON.parse(localStorage.getItem(STORE) ?? "[]"));
  } catch {
    // nothing kept, or storage is off: the page starts without corrections
  }
}

/** Ask the server for all operations. */
async function load() {
  const answer = await call("api/operations");
  if (!answer.ok) throw new Error(await reasonOf(answer));
  const found = await answer.json();
  if (revision !== null && found.revision < revision) return; // an older answer that came late
  revision = found.revision;
  takeOver(found.operations);
}

/** Put these operations first, in their order, and those of this page that are not among them after them. */
function takeOver(list) {
  const kept = (Array.isArray(list) ? list : []).filter((one) => one && typeof one.id === "string");
  const known = new Set(kept.map((one) => one.id));
  const all = [...kept, ...operations.filter((one) => !known.has(one.id))];
  if (all.every((one, at) => one.id === operations[at]?.id)) return;
  operations.splice(0, operations.length, ...all);
  update();
  showScatter();
}

function download() {
  const text = operations.map((one) => `${JSON.stringify(one)}\n`).join("");
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type: "application/jsonl" })), download: "review.jsonl" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// Actions on the selection

const paths = (list) => list.map(pathKey);

/** The selection as images, and as regions of images where only some regions of them are selected. */
function chosen() {
  const byImage = new Map();
  for (const key of state.selected) {
    const { i, k } = parseKey(key);
    byImage.set(i, [...(byImage.get(i) ?? []), k]);
  }
  const result = { images: [], regions: [] };
  for (const [i, parts] of byImage) {
    const regions = images[i].regions.filter((region) => source(region.crop)).length;
    if (parts.includes(null) || parts.length >= regions) result.images.push(pathKey(i));
    else result.regions.push(...parts.map((region) => ({ image: pathKey(i), region })));
  }
  return result;
}

function onSelection(action) {
  if (!state.selected.size) {
    announce(t("select_first"));
    return;
  }
  if (state.grouping !== "run") {
    announce(t("only_run"), true);
    return;
  }
  action();
  state.selected.clear();
  showSelection();
}

const moveTo = (label) => onSelection(() => correct(label === NORMAL ? { op: "normal", images: paths(selectedRows()) } : { op: "move", ...chosen(), to: label }));
const markNormal = () => onSelection(() => correct({ op: "normal", images: paths(selectedRows()) }));
const markWrong = () => onSelection(() => correct({ op: "wrong_outline", images: paths(selectedRows()) }));

/** A new type of the selected images, whose name can be typed at once. */
function newType() {
  onSelection(() => {
    const label = numbers().next;
    correct({ op: "new_type", name: t("type", { n: label + (data.normal_label === undefined ? 1 : 0) }), label });
    correct({ op: "move", ...chosen(), to: label });
    find(`#type-${label}`)?.scrollIntoView({ block: "center" });
    startRenaming(label);
  });
}

/** Turn the types that are shown into corrections: each takes over the type of the run that it shares most images with. */
function takeGroups() {
  const wanted = view.groups.filter((group) => isType(group) && group.rows.length);
  update({ grouping: "run", filter: "all" });
  const shared = wanted.flatMap(({ rows }, at) =>
    view.groups.filter(isType).map(({ label }) => ({ at, label, size: rows.filter((i) => view.labels[i] === label).length })),
  );
  const labels = new Map();
  for (const { at, label, size } of shared.sort((a, b) => b.size - a.size)) {
    if (size && !labels.has(at) && ![...labels.values()].includes(label)) labels.set(at, label);
  }
  wanted.forEach(({ rows, name }, at) => {
    if (!labels.has(at)) {
      labels.set(at, numbers().next);
      correct({ op: "new_type", name, label: labels.get(at) });
    }
    const moved = rows.filter((i) => view.labels[i] !== labels.get(at));
    if (moved.length) correct({ op: "move", images: paths(moved), regions: [], to: labels.get(at) });
  });
  announce(t("took_groups"));
}

/** Split a type in two: by the server, else along the tree of the descriptors. */
async function splitType(label) {
  const members = view.byLabel.get(label).rows;
  let parts = null;
  if (token) {
    try {
      const answer = await call(`api/split?type=${toPublic(label)}&parts=2`, { method: "POST" });
      if (!answer.ok) throw new Error(await reasonOf(answer));
      parts = (await answer.json()).parts;
    } catch (error) {
      announce(t("not_split", { reason: error.message }), true);
      return;
    }
  } else parts = splitAlongTree(members);
  if (!parts || parts.length < 2) announce(t("no_split"), true);
  else correct({ op: "split", type: toPublic(label), parts });
}

/** Paths of two parts: the highest merge of the tree that divides the images; null where all share a leaf. */
function splitAlongTree(members) {
  if (!data.tree) return null;
  for (let k = 2; k <= data.tree.leaves.length; k++) {
    const typeOf = cutLabels(k);
    const first = members.filter((i) => images[i].leaf !== undefined && typeOf[images[i].leaf] === typeOf[images[members[0]].leaf]);
    if (first.length && first.length < members.length) {
      const rest = members.filter((i) => !first.includes(i));
      return [paths(first), paths(rest)].sort((a, b) => b.length - a.length);
    }
  }
  return null;
}

// The bar at the bottom

function buildReviewBar() {
  const move = make("select", { id: "move", "aria-label": t("move_label"), onchange: () => move.value !== "" && moveTo(Number(move.value)) });
  find("#review").append(
    make("span", { id: "selected-count", className: "note" }),
    make("span", { id: "selection-actions" }, move,
      button(t("new_type"), newType, { id: "new-type" }),
      button(t("mark_normal"), markNormal, { id: "mark-normal" }),
      button(t("wrong_outline"), markWrong, { id: "mark-wrong" }),
      button(t("clear"), () => { state.selected.clear(); showSelection(); }, { id: "clear" })),
    make("span", { id: "history-actions" },
      button(t("undo"), undo, { id: "undo" }),
      button(t("redo"), redo, { id: "redo" }),
      button(t("download"), download, { id: "download" })),
  );
}

function showReviewBar() {
  const n = state.selected.size;
  const bar = find("#review");
  bar.hidden = !n && !operations.length;
  document.body.classList.toggle("reviewing", !bar.hidden);
  find("#selection-actions").hidden = !n || state.grouping !== "run";
  const saved = token ? t(unsaved.length ? "saving" : "saved") : operations.length ? t("kept_here") : "";
  find("#selected-count").textContent = n ? t("selected", { n: integer(n) }) + (state.grouping === "run" ? "" : ` ${t("only_run")}`) : `${count("corrections", activeOperations().length)}. ${saved}`;
  const move = find("#move");
  const targets = view.groups.filter((group) => isType(group) || group.normal);
  move.replaceChildren(make("option", { value: "" }, t("move_to")), ...targets.map((group) => make("option", { value: group.label }, group.name)));
  const { undo: last, redo: next } = history();
  find("#undo").disabled = !last;
  find("#redo").disabled = !next;
  find("#download").disabled = !operations.length;
  find("#history-actions").hidden = !operations.length;
}

if (token) {
  // another tab may have corrected something meanwhile
  window.addEventListener("focus", loadCorrections);
  window.addEventListener("beforeunload", (event) => unsaved.length && event.preventDefault());
}
