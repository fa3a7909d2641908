// Corrections: a list of operations, replayed onto the groups of the run. Nothing is ever removed from the list.
const operations = [];
const rowOf = new Map(images.map((_, i) => [pathKey(i), i]));
const toPublic = (label) => (label === NORMAL ? numbers().normal : label);
const fromPublic = (label) => toLabel(label, numbers().normal);

function noCorrections() {
  return {
    names: new Map(), // label -> name
    merged: new Map(), // label -> label of the type that took it over
    moved: new Set(), // rows of images in another group than the run's
    regions: new Map(), // "row:number" -> label
    decided: new Set(), // rows whose verdict a person gave
    wrongOutline: new Set(), // rows
  };
}

/** The operations that count: those that are not undone. */
function activeOperations() {
  const undone = new Set();
  for (const one of operations) {
    if (one.op === "undo") undone.add(one.target);
    if (one.op === "redo") undone.delete(one.target);
  }
  return operations.filter((one) => one.op !== "undo" && one.op !== "redo" && !undone.has(one.id));
}

/** Apply all corrections to labels and verdicts, in place. */
function applyCorrections(labels, anomalous) {
  const done = noCorrections();
  for (const one of activeOperations()) APPLY[one.op]?.(one, labels, anomalous, done);
  return done;
}

const rowsOf = (paths) => (paths ?? []).map((path) => rowOf.get(path)).filter((i) => i !== undefined);

function put(i, label, labels, anomalous, done) {
  labels[i] = label;
  anomalous[i] = label !== NORMAL;
  done.moved.add(i);
  done.decided.add(i);
  for (const key of [...done.regions.keys()]) if (key.startsWith(`${i}:`)) done.regions.delete(key);
}

const APPLY = {
  rename: (one, labels, anomalous, done) => done.names.set(fromPublic(one.type), one.name),
  merge(one, labels, anomalous, done) {
    const into = fromPublic(one.into);
    const from = new Set(one.types.map(fromPublic).filter((label) => label !== into));
    labels.forEach((label, i) => {
      if (from.has(label)) labels[i] = into;
    });
    for (const [key, label] of done.regions) if (from.has(label)) done.regions.set(key, into);
    for (const [label, target] of done.merged) if (from.has(target)) done.merged.set(label, into);
    for (const label of from) done.merged.set(label, into);
  },
  split(one, labels, anomalous, done) {
    const own = numbers().made.get(one.id);
    one.parts.slice(1).forEach((paths, at) => {
      const label = own[at];
      for (const i of rowsOf(paths)) {
        labels[i] = label;
        done.moved.add(i);
      }
    });
  },
  move(one, labels, anomalous, done) {
    const to = fromPublic(one.to);
    for (const i of rowsOf(one.images)) put(i, to, labels, anomalous, done);
    for (const { image, region } of one.regions ?? []) {
      const i = rowOf.get(image);
      if (i !== undefined) done.regions.set(`${i}:${region}`, to);
    }
  },
  new_type: (one, labels, anomalous, done) => done.names.set(one.label, one.name),
  normal(one, labels, anomalous, done) {
    for (const i of rowsOf(one.images)) put(i, NORMAL, labels, anomalous, done);
  },
  wrong_outline(one, labels, anomalous, done) {
    for (const i of rowsOf(one.images)) done.wrongOutline.add(i);
  },
};

/** The numbers that operations give to new types. Undone operations keep theirs, so that a number never means two types. */
function numbers() {
  const made = new Map(); // id of an operation -> its numbers
  let next = Math.max(...groups.map((group) => group.label), data.normal_label ?? -1, -1) + 1;
  let normal = runNormal;
  for (const one of operations) {
    if (made.has(one.id)) continue;
    let own = [];
    if (one.op === "new_type") own = [one.label];
    if (one.op === "split") own = one.parts.slice(1).map((_, at) => next + at);
    if (one.op === "normal" && normal === UNKNOWN) own = [(normal = next)];
    made.set(one.id, own);
    next = Math.max(next, ...own.map((label) => label + 1));
  }
  return { made, next, normal };
}

/** What can be undone, and what can be redone: an operation each, or undefined. */
function history() {
  const done = [];
  let undone = [];
  const moveTarget = (id, from, to) => {
    const place = from.findIndex((other) => other.id === id);
    if (place >= 0) to.push(...from.splice(place, 1));
  };
  for (const one of operations) {
    if (one.op === "undo") moveTarget(one.target, done, undone);
    else if (one.op === "redo") moveTarget(one.target, undone, done);
    else {
      done.push(one);
      undone = [];
    }
  }
  return { undo: done.at(-1), redo: undone.at(-1) };
}

function newId() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

const stamped = (fields) => ({ id: newId(), time: new Date().toISOString(), ...fields });
