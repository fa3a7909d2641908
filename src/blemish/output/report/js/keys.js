// Keys for everything; "?" lists them.
const KEYS = [
  ["?", "key_help", () => find("#help").showModal()],
  ["/", "key_search", () => find("#search").focus()],
  ["g", "key_gallery", () => focusTile(current)],
  ["h", "key_heat", () => toggleLayer("heat")],
  ["o", "key_outlines", () => toggleLayer("outlines")],
  ["c", "key_layout", () => update({ layout: { crop: "whole", whole: "list", list: "crop" }[state.layout] })],
  ["s", "key_sort", () => update({ sort: nextOf(Object.keys(SORTS), state.sort) })],
  ["t", "key_theme", switchTheme],
  ["+", "key_more_types", () => changeTypes(1)],
  ["-", "key_fewer_types", () => changeTypes(-1)],
  ["]", "key_threshold_up", () => setThreshold(Math.min(topScore, shownThreshold() + topScore / 100))],
  ["[", "key_threshold_down", () => setThreshold(Math.max(0, shownThreshold() - topScore / 100))],
  ["r", "key_rename", renameCurrent],
  ["m", "key_move", () => (state.selected.size ? find("#move").focus() : announce(t("select_first")))],
  ["k", "key_new_type", newType],
  ["n", "key_normal", markNormal],
  ["w", "key_wrong", markWrong],
  ["z", "key_undo", undo],
  ["y", "key_redo", redo],
  ["d", "key_download", () => operations.length && download()],
];
const FIXED_KEYS = [
  ["0 – 9", "key_type"],
  ["← → ↑ ↓", "key_arrows"],
  ["Enter", "key_open"],
  ["Space, x", "key_select"],
  ["Shift + ← →", "key_extend"],
  ["Esc", "key_escape"],
];

const nextOf = (list, value) => list[(list.indexOf(value) + 1) % list.length];
const shownThreshold = () => (Number.isFinite(state.threshold) ? state.threshold : topScore);

function changeTypes(step) {
  if (!data.tree) return;
  const types = Math.min(data.tree.leaves.length, Math.max(2, state.types + (state.grouping === "cut" ? step : 0)));
  update({ grouping: "cut", types, filter: "all" });
  announce(find("#cut-text").textContent);
}

/** Rename the type of the tile that has the keyboard, or the one that is shown. */
function renameCurrent() {
  if (state.grouping !== "run") {
    announce(t("only_run"), true);
    return;
  }
  const tile = document.activeElement.closest?.(".tile");
  const onCard = document.activeElement.closest?.(".card");
  const label = tile ? view.labels[parseKey(tile.dataset.key).i] : onCard ? Number(onCard.dataset.label) : state.filter;
  if (label === "all" || label < 0) announce(t("rename_where"));
  else {
    find(`#type-${label}`).scrollIntoView({ block: "center" });
    startRenaming(label);
  }
}

function onKey(event) {
  const typing = event.target.closest?.("input:not([type=radio]):not([type=range]), select, textarea");
  if (event.key === "Escape" && typing) typing.blur();
  if (typing || event.altKey || (viewer.open && !"ho".includes(event.key)) || find("#help").open) return;
  if (event.ctrlKey || event.metaKey) {
    if (event.key.toLowerCase() === "z") (event.shiftKey ? redo : undo)();
    else if (event.key.toLowerCase() === "y") redo();
    else return;
    event.preventDefault();
    return;
  }
  if (event.target.type === "range" && /^(Arrow|Page|Home|End)/.test(event.key)) return;
  const found = KEYS.find(([key]) => key === event.key || key === event.key.toLowerCase());
  if (found) found[2]();
  else if (/^\d$/.test(event.key)) chooseType(event.key);
  else if (event.key === "Escape") {
    state.selected.clear();
    showSelection();
    return;
  } else return;
  event.preventDefault();
}

/** Show the type with this number; 0 shows all. */
function chooseType(digit) {
  const group = view.groups.find((one) => one.number === digit);
  if (digit !== "0" && !group) return;
  update({ filter: digit === "0" ? "all" : group.label, attention: "all" });
  announce(digit === "0" ? t("all_groups") : group.name);
}

function buildHelp() {
  const list = [...KEYS.map(([key, text]) => [key, text]), ...FIXED_KEYS];
  find("#help-keys").append(...list.map(([key, text]) => make("div", {}, make("dt", {}, make("kbd", {}, key)), make("dd", {}, t(text)))));
  find("#help-close").addEventListener("click", () => find("#help").close());
  find("#help-open").addEventListener("click", () => find("#help").showModal());
  document.addEventListener("keydown", onKey);
}
