// The large picture of one image: photograph, heat map, mask, score and regions.
const viewer = find("#viewer");
let viewed = 0; // place in order

function openViewer(place) {
  if (!order.length) return;
  viewed = (place + order.length) % order.length;
  const { i, k } = parseKey(order[viewed]);
  const image = images[i];
  const group = view.byLabel.get(view.labels[i]);
  find("#viewer-title").replaceChildren(badge(group), make("bdi", {}, pathOf(i)), make("span", { className: "note" }, group.name));
  find("#viewer-pictures").replaceChildren(...pictures(i, group));
  find("#viewer-facts").replaceChildren(...facts(i, k));
  find("#viewer-regions").replaceChildren(...regionList(i, group));
  find("#viewer-select").textContent = t(state.selected.has(order[viewed]) ? "unselect" : "select");
  if (!viewer.open) viewer.showModal();
}

function pictures(i, group) {
  const image = images[i];
  const figure = (element, text) => make("figure", {}, element, make("figcaption", {}, text));
  const fitted = (share) => ({ aspectRatio: `${image.width} / ${image.height}`, width: `min(100%, ${(share * image.width) / image.height}vh)` });
  const stack = make("span", { className: "stack", style: fitted(56) });
  const small = source(image.photo);
  const reduced = image.thumb_width < image.width; // else the thumbnail is the whole photograph, and can do without outlines
  const large = page.pictures || !reduced ? null : source(image.overlay);
  if (small) stack.append(make("img", { src: small, className: "photo", alt: t("photo_of", { path: pathOf(i) }) }));
  if (large) {
    const better = make("img", { src: large, className: "photo large", alt: "" });
    better.addEventListener("load", () => stack.classList.add("loaded"));
    better.addEventListener("error", () => better.remove());
    stack.append(better);
  }
  if (!small && !large) stack.append(make("span", { className: "missing" }, t("no_picture")));
  if (image.outline && !group.normal) stack.append(outlines(i, group.color, null));
  const shown = [figure(stack, t(large ? "photo_outlined" : "photo"))];
  const heat = source(image.heat);
  if (heat) shown.push(figure(make("img", { src: heat, className: "fitted", style: fitted(24), alt: t("heat_of", { path: pathOf(i) }) }), t("heat_map")));
  const mask = page.pictures ? null : source(image.mask);
  if (mask) {
    const picture = make("img", { src: mask, className: "fitted", style: fitted(24), alt: t("mask_of", { path: pathOf(i) }) });
    const element = figure(picture, t("mask"));
    picture.addEventListener("error", () => element.remove());
    shown.push(element);
  }
  return shown;
}

function facts(i, k) {
  const image = images[i];
  const rows = [
    ["score", number(image.score)],
    ["threshold", number(state.threshold)],
    ["verdict", t(view.anomalous[i] ? "anomalous" : "normal")],
    image.probability === undefined ? null : ["probability", percent(image.probability)],
    image.type_probability === undefined ? null : ["type_probability", percent(image.type_probability)],
    ["distance", number(image.distance)],
    ["size", `${image.width} × ${image.height}`],
    image.look ? ["area", percent(image.look.area)] : null,
  ];
  return rows.filter(Boolean).map(([name, value]) => make("div", {}, make("dt", {}, t(`fact_${name}`)), make("dd", {}, value)));
}

function regionList(i, group) {
  return images[i].regions.map((region, k) => {
    const label = regionLabel(i, k);
    const own = view.byLabel.get(label) ?? group;
    return make(
      "li",
      {},
      source(region.crop) ? frame(i, k, own) : null,
      make("span", {}, badge(own), ` ${own.name}`),
      make("span", { className: "note" }, `${t("score_is", { score: number(region.score) })}, ${t("covers", { share: percent(region.area) })}`),
    );
  });
}

find("#viewer-close").addEventListener("click", () => viewer.close());
find("#viewer-previous").addEventListener("click", () => openViewer(viewed - 1));
find("#viewer-next").addEventListener("click", () => openViewer(viewed + 1));
find("#viewer-select").addEventListener("click", () => {
  select([order[viewed]]);
  openViewer(viewed);
});
viewer.addEventListener("click", (event) => {
  if (event.target === viewer) viewer.close();
});
viewer.addEventListener("close", () => focusTile(viewed));
viewer.addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") openViewer(viewed - 1);
  if (event.key === "ArrowRight") openViewer(viewed + 1);
  if (event.key === "x") find("#viewer-select").click();
});
