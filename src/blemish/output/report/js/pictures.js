// Pictures of images and regions, with outlines drawn over them.

/** Address of a picture: beside the page, or in it. Null if the page does not have it. */
function source(name) {
  if (!name) return null;
  if (page.pictures) return page.pictures[name] ?? null;
  return name.split("/").map(encodeURIComponent).join("/");
}

const picture = (name, properties) => make("img", { src: source(name), decoding: "async", draggable: false, ...properties });

/** Outlines of an image as an SVG element over its thumbnail, or over the crop of one region. */
function outlines(i, color, box) {
  const image = images[i];
  const factor = image.thumb_width / image.width;
  const frame = box ? box.map((value) => value * factor) : [0, 0, image.thumb_width, image.thumb_height];
  const path = (className, stroke) => svg("path", { d: image.outline, class: className, stroke, "vector-effect": "non-scaling-stroke" });
  return svg("svg", { viewBox: frame.join(" "), class: "outline", "aria-hidden": "true" }, path("rim"), path("line", color));
}

/** Picture of a tile: the photograph, the heat map and the outlines of an image or of one of its regions. */
function frame(i, k, group, properties = {}) {
  const image = images[i];
  const region = k === null ? null : image.regions[k];
  const cropped = Boolean(region && source(region.crop));
  const [width, height] = cropped ? region.crop_box.slice(2) : [image.thumb_width, image.thumb_height];
  const photo = source(cropped ? region.crop : image.photo);
  const inner = make("span", { className: "stack", style: { aspectRatio: `${width} / ${height}` } });
  inner.classList.toggle("tall", height > width);
  if (photo) inner.append(make("img", { src: photo, className: "photo", alt: "", decoding: "async", draggable: false }));
  const heat = source(image.heat);
  if (heat && (state.heat || !photo)) inner.append(heatLayer(heat, image, cropped ? region.crop_box : null));
  if (!photo && !heat) inner.append(make("span", { className: "missing" }, t("no_picture")));
  if (image.outline && (cropped || !group.normal)) inner.append(outlines(i, group.color, cropped ? region.crop_box : null));
  return make("span", { className: "frame", ...properties }, inner);
}

/** Heat map of an image; for a crop it is enlarged and moved so that the crop's part is in view. */
function heatLayer(heat, image, box) {
  const layer = make("img", { src: heat, className: "heat", alt: "", decoding: "async", draggable: false });
  if (box) {
    const [left, top, width, height] = box;
    Object.assign(layer.style, {
      width: `${(100 * image.width) / width}%`,
      height: `${(100 * image.height) / height}%`,
      left: `${(-100 * left) / width}%`,
      top: `${(-100 * top) / height}%`,
    });
  }
  return layer;
}

/** Mean of mean maps, weighted by the images of a group that each of them stands for, drawn in heat colors. */
function meanMap(rows) {
  const weights = new Map();
  for (const i of rows) {
    const map = meanMapOf(i);
    if (map) weights.set(map, (weights.get(map) ?? 0) + 1);
  }
  if (!weights.size) return null;
  const side = [...weights.keys()][0].side;
  const sums = new Float64Array(side * side);
  for (const [map, weight] of weights) decoded(map).forEach((value, at) => (sums[at] += (value * weight) / rows.length));
  const canvas = make("canvas", { width: side, height: side, className: "mean", role: "img" });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(side, side);
  sums.forEach((value, at) => {
    const color = page.heat[Math.min(page.heat.length - 1, Math.floor((value / 256) * page.heat.length))];
    pixels.data.set([1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16)), 4 * at);
    pixels.data[4 * at + 3] = 255;
  });
  context.putImageData(pixels, 0, 0);
  return canvas;
}

function meanMapOf(i) {
  const image = images[i];
  if (state.grouping === "other") return data.other.mean_maps[image.other_label];
  if (state.grouping === "cut" && image.leaf !== undefined) return data.tree.mean_maps[image.leaf];
  return groups.find((group) => group.label === image.label).mean_map;
}

function decoded(map) {
  map.bytes ??= Uint8Array.from(atob(map.values), (character) => character.charCodeAt(0));
  return map.bytes;
}

/** The scale of the heat colors with the threshold on it. */
function heatScale() {
  const [low, high] = data.scale;
  const at = Math.min(100, Math.max(0, (100 * ((data.threshold ?? high) - low)) / (high - low)));
  return make(
    "div",
    { className: "scale", role: "img", "aria-label": t("scale", { low: number(low), high: number(high), threshold: number(data.threshold) }) },
    make("span", {}, number(low)),
    make("span", { className: "ramp", style: { background: `linear-gradient(to right,${page.heat.join(",")})` } }, make("span", { className: "mark", style: { left: `${at}%` } })),
    make("span", {}, images.some((image) => image.score > high) ? t("or_more", { high: number(high) }) : number(high)),
  );
}
