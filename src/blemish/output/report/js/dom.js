// Elements: made from texts and properties only, never from markup.
const SVG = "http://www.w3.org/2000/svg";
const find = (selector, root = document) => root.querySelector(selector);

/** An element with properties (attributes where the name has a dash or the element is SVG) and children. */
function make(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style" || name === "dataset") Object.assign(element[name], value);
    else if (name in element && !name.includes("-") && element.namespaceURI !== SVG) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

function button(text, onclick, properties = {}) {
  return make("button", { type: "button", onclick, ...properties }, text);
}

/** Say something to screen readers, and show it for a while. */
function announce(text, isError = false) {
  const place = find("#status");
  place.textContent = text;
  place.classList.toggle("error", isError);
  place.classList.add("shown");
  clearTimeout(announce.timer);
  announce.timer = setTimeout(() => place.classList.remove("shown"), isError ? 12000 : 4000);
}

/** Call a function at most once per frame. */
function perFrame(action) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      action();
    });
  };
}

// The shapes are the second cue beside the color: seven of them, as polygons in a square of side 20.
const SHAPES = ["circle", "square", "diamond", "triangle", "pentagon", "hexagon", "triangle-down"];
const POLYGONS = {
  square: "2,2 18,2 18,18 2,18",
  diamond: "10,0 20,10 10,20 0,10",
  triangle: "10,0 20,19 0,19",
  pentagon: "10,0 20,7.5 16,19 4,19 0,7.5",
  hexagon: "5,1.5 15,1.5 20,10 15,18.5 5,18.5 0,10",
  "triangle-down": "0,1 20,1 10,20",
};

/** Colored shape with the number of a type. */
function badge(group) {
  const shape = SHAPES[group.shape];
  const form = POLYGONS[shape]
    ? svg("polygon", { points: POLYGONS[shape], fill: group.color })
    : svg("circle", { cx: 10, cy: 10, r: 9, fill: group.color });
  const y = { triangle: 16.5, "triangle-down": 11 }[shape] ?? 14;
  const label = svg("text", { x: 10, y, "text-anchor": "middle", class: "badge-number" });
  label.textContent = group.number;
  label.style.fontSize = group.number.length > 1 || shape?.startsWith("triangle") ? "9px" : "11px";
  label.style.fill = luminance(group.color) > 0.3 ? "#000" : "#fff";
  return svg("svg", { viewBox: "0 0 20 20", class: "badge", "aria-hidden": "true" }, form, label);
}

function luminance(color) {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const part = parseInt(color.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
