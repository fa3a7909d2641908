// Texts, numbers and data of the page.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const data = read("report");
const page = read("page");
const images = data.images;
const groups = data.groups;

/** A text of the page by its key, with values in place of {names}. */
function t(key, values = {}) {
  return page.texts[key].replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));
}

/** "1 image", "1 344 images": the key has two forms, KEY_one and KEY_other. */
function count(key, n) {
  return t(`${key}_${n === 1 ? "one" : "other"}`, { n: integer(n) });
}

function integer(n) {
  return String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");
}

/** Share as text with one decimal; only all is 100%, and only nothing is 0%. */
function percent(share) {
  if (!(share > 0)) return "0%";
  if (share >= 1) return "100%";
  const tenths = Math.min(999, Math.round(share * 1000));
  return tenths ? `${(tenths / 10).toFixed(1)}%` : "< 0.1%";
}

/** Four significant digits, with an exponent only for very small and very large numbers. */
function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return t("none");
  if (value !== 0 && (Math.abs(value) < 1e-4 || Math.abs(value) >= 1e6)) return value.toExponential(2);
  return String(Number(value.toPrecision(4)));
}

/** The path of an image as printable text. */
function pathOf(i) {
  return images[i].shown ?? images[i].path;
}

/** The path of an image as corrections name it: bytes that are not Unicode are lone surrogates, as JSON can hold them. */
function pathKey(i) {
  const { path, odd } = images[i];
  return odd ? path.replace(/\\udc([89a-f][0-9a-f])/g, (_, hex) => String.fromCharCode(0xdc00 + parseInt(hex, 16))) : path;
}

function median(values) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
