// Plain words for what was measured.
const SMALL = 0.01; // share of the image
const LARGE = 0.15;
const ROUND = 1.4; // long axis over short axis; between this and the next a shape is neither
const ELONGATED = 1.7;
const THIN = 3;
const ANOTHER_COLOR = 4.6; // two just noticeable differences in CIELAB
const ANOTHER_LIGHTNESS = 3;

/** Two sentences on the look of a type; others are the looks of all types, because what all share tells nothing. */
function describe(look, others) {
  if (!look) return t("no_region");
  const words = [];
  if (look.area >= 0.9) words.push(t("everywhere"));
  else if (look.area >= LARGE) words.push(t("large"));
  else if (look.area <= SMALL) words.push(t("small"));
  if (look.area < 0.5) {
    if (look.elongation >= ELONGATED) words.push(t(look.elongation >= THIN ? "thin" : "elongated"));
    else if (look.elongation < ROUND) words.push(t("round"));
  }
  const compared = [];
  if (look.mixed) compared.push(t("mixed"));
  else if (look.lightness !== null && Math.abs(look.lightness) >= ANOTHER_LIGHTNESS) compared.push(t(look.lightness < 0 ? "darker" : "brighter"));
  if (look.color !== null && look.color >= ANOTHER_COLOR) compared.push(t("other_color"));
  if (compared.length) words.push(t("than_around", { words: compared.join(t("and")) }));
  if (look.border && !others.every((one) => one.border)) words.push(t("at_border"));
  const form = words.length ? `${capitalized(words.join(", "))}. ` : "";
  const regions = look.regions <= 1 ? t("one_region") : t(look.regions <= 4 ? "regions" : "scattered", { n: look.regions });
  return `${form}${capitalized(regions)}, ${t("covers", { share: percent(look.area).replace("< ", t("less_than")) })}.`;
}

const capitalized = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** What sets one type apart from all others: a measure that is at least 1.5 times the next one. */
function compare(group, looks) {
  const own = looks.get(group.label);
  const others = [...looks].filter(([label, look]) => label !== group.label && look).map(([, look]) => look);
  if (!own || !others.length) return "";
  const said = [];
  const most = (name) => own[name] >= 1.5 * Math.max(...others.map((look) => look[name]));
  if (most("area")) said.push(t("most_area"));
  if (1.5 * own.area <= Math.min(...others.map((look) => look.area))) said.push(t("least_area"));
  if (most("elongation")) said.push(t("most_elongated"));
  if (most("regions")) said.push(t("most_regions"));
  return said.length ? `${capitalized(said.join(", "))}.` : "";
}

/** How clearly a type of the run is separate from the others; empty where that was not measured. */
function stability(group) {
  const own = state.grouping === "run" && groups.find((one) => one.label === group.label);
  if (!own || own.separation === undefined || view.corrected.moved.size || view.corrected.merged.size) return "";
  const closest = view.byLabel.get(own.closest)?.name ?? "";
  const key = own.separation >= 0.4 ? "stable" : own.separation >= 0.2 ? "fairly_stable" : "unstable";
  const sure = (own.confidence ?? 1) >= 0.95 ? "" : ` ${t("type_confidence", { p: percent(own.confidence) })}`;
  return t(key, { type: closest }) + sure;
}
