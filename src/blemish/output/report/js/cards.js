// The first screen: what was looked at, what needs attention, and a card for each type.

function showLead() {
  const anomalous = view.anomalous.filter(Boolean).length;
  const types = view.groups.filter((group) => isType(group) && group.rows.length).length;
  const lead = find("#lead");
  if (!anomalous) {
    const checks = view.attention.filter((one) => one === "check").length;
    const [one, other] = checks ? ["not_clearly_anomalous_one", "not_clearly_anomalous"] : ["not_anomalous_one", "not_anomalous"];
    lead.replaceChildren(t(images.length === 1 ? one : other, { n: integer(images.length), checks: integer(checks) }));
  } else {
    const amount = t("of_images", { n: integer(anomalous), images: count("images", images.length) });
    lead.replaceChildren(
      make("strong", {}, amount),
      ` (${percent(anomalous / images.length)}) `,
      t(anomalous === 1 ? "is_anomalous" : "are_anomalous"),
      make("strong", {}, count("types", types)),
      view.byLabel.has(UNSORTED) ? t("of_them_unsorted", { n: integer(view.byLabel.get(UNSORTED).rows.length) }) : "",
      ".",
    );
  }
  const moved = state.threshold !== (data.threshold ?? Infinity) || state.grouping !== "run";
  find("#changed").hidden = !moved;
}

function showAttention() {
  const kinds = someChecks ? ["certain", "check", "normal"] : ["certain", "normal"];
  const total = Math.max(1, images.length);
  const bar = kinds.map((kind) => {
    const amount = view.attention.filter((one) => one === kind).length;
    const name = t(someChecks || kind !== "certain" ? `attention_${kind}` : "anomalous");
    const choose = () => {
      update({ attention: state.attention === kind ? "all" : kind, filter: "all" });
      if (state.attention === kind) find("#images").scrollIntoView();
    };
    return make(
      "button",
      { type: "button", className: `part ${kind}`, onclick: choose, "aria-pressed": String(state.attention === kind), style: { flexGrow: Math.max(amount / total, 0.0001) } },
      make("span", { className: "amount" }, integer(amount)),
      make("span", { className: "kind" }, name),
      make("span", { className: "hint" }, t(someChecks || kind !== "certain" ? `attention_${kind}_hint` : "anomalous_hint")),
    );
  });
  find("#attention").replaceChildren(...bar);
}

function showCards() {
  const looks = new Map(view.groups.filter(isType).map((group) => [group.label, lookOf(group.rows)]));
  find("#cards").replaceChildren(...view.groups.map((group) => card(group, looks)));
}

function card(group, looks) {
  const typical = typicalOf(group.rows);
  const share = group.rows.length / Math.max(1, images.length);
  const title = make("h3", { id: `name-${group.label}` }, badge(group), make("span", { className: "name" }, group.name));
  const words = !isType(group) ? "" : [describe(looks.get(group.label), [...looks.values()].filter(Boolean)), compare(group, looks), stability(group)].filter(Boolean).join(" ");
  const mean = meanMap(group.rows);
  mean?.setAttribute("aria-label", t("mean_map", { name: group.name }));
  if (mean) mean.title = t("mean_map", { name: group.name });
  const open = () => {
    update({ filter: group.label, attention: "all" });
    find("#images").scrollIntoView();
  };
  return make(
    "article",
    { className: `card${group.normal ? " normal" : ""}`, id: `type-${group.label}`, style: { borderTopColor: group.color }, "aria-labelledby": `name-${group.label}`, dataset: { label: group.label } },
    make(
      "button",
      { type: "button", className: "face", onclick: open, "aria-label": t("open_group", { name: group.name }), disabled: !group.rows.length },
      typical === null ? make("span", { className: "frame" }, make("span", { className: "missing" }, t("empty_group"))) : frame(typical, group.normal || !images[typical].regions.length ? null : 0, group),
    ),
    make("div", { className: "card-title" }, make("div", {}, title, make("p", { className: "size" }, make("strong", {}, count("images", group.rows.length)), `, ${percent(share)}`)), mean && make("figure", { className: "where" }, mean, make("figcaption", { "aria-hidden": "true" }, t("mean_map_short")))),
    make("span", { className: "bar", "aria-hidden": "true" }, make("span", { style: { width: `${100 * share}%`, background: group.color } })),
    make("p", { className: "words" }, words || t(group.normal ? "normal_words" : group.label === UNSORTED ? "unsorted_words" : group.label === UNLIKE ? "unlike_words" : "no_region")),
    cardActions(group),
  );
}

/** Buttons to correct a type; corrections belong to the groups of the run. */
function cardActions(group) {
  if (state.grouping !== "run" || !isType(group)) return null;
  const others = view.groups.filter((one) => one !== group && isType(one));
  const into = make("select", { "aria-label": t("merge_label", { name: group.name }), className: "merge" });
  into.append(make("option", { value: "" }, t("merge_into")), ...others.map((one) => make("option", { value: one.label }, one.name)));
  into.addEventListener("change", () => {
    if (into.value !== "") correct({ op: "merge", types: [toPublic(group.label), Number(into.value)], into: Number(into.value) });
  });
  return make(
    "div",
    { className: "card-actions" },
    button(t("rename"), () => startRenaming(group.label), { className: "rename", "aria-label": t("rename_label", { name: group.name }) }),
    others.length ? into : null,
    group.rows.length > 1 ? button(t("split"), () => splitType(group.label), { className: "split", "aria-label": t("split_label", { name: group.name }) }) : null,
  );
}

/** Put a text field in place of the name on a card. Enter keeps the new name, Escape the old one. */
function startRenaming(label) {
  const place = find(`#type-${CSS.escape(label)} h3 .name`);
  const group = view.byLabel.get(label);
  if (!place || !group) return;
  const field = make("input", { value: group.name, maxLength: 100, className: "name-field", "aria-label": t("rename_label", { name: group.name }) });
  let done = false;
  const end = (keep) => {
    if (done) return;
    done = true;
    const name = field.value.trim();
    if (keep && name && name !== group.name) correct({ op: "rename", type: toPublic(label), name });
    else showCards();
    find(`#type-${CSS.escape(label)} .rename`)?.focus();
  };
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key !== "Enter" && event.key !== "Escape") return;
    event.preventDefault(); // the button that gets the focus back would be pressed by the same key
    end(event.key === "Enter");
  });
  field.addEventListener("blur", () => end(true));
  place.replaceChildren(field);
  field.focus();
  field.select();
}
