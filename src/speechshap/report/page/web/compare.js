// Two targets, explanations or utterances side by side, and their difference.

const pair = byId("pair");
// An explanation that was kept, to be compared with that of another utterance.
state.kept = null;

// One side of a comparison.
function sideOf(variant, target) {
  const { layout } = variant.figure;
  return { variant, target, unit: variant.unit, meta: layout.meta, index: variant.targets.indexOf(target),
    clip: page.entries[state.utterance].utterance };
}

// What the present target can be compared with, by its key in the list.
function others() {
  const [variant, target] = [variantNow(), targetNow()];
  const found = new Map();
  variant.targets.forEach((other, number) => {
    if (other !== target) found.set(`target ${number}`, { says: `target ${other.name}`, side: sideOf(variant, other) });
  });
  state.payload.forEach((other, number) => {
    const same = other.targets.find(({ name }) => name === target.name);
    if (other === variant || same === undefined) return;
    found.set(`explanation ${number}`, { says: `explanation ${other.name}`, side: sideOf(other, same) });
  });
  if (state.kept !== null && state.kept.clip !== page.entries[state.utterance].utterance) {
    found.set("kept", { says: `${state.kept.clip}, ${state.kept.target.name}`, side: state.kept });
  }
  return found;
}

function fillOthers() {
  const found = others();
  const chosen = found.has(byId("other").value) ? byId("other").value : "";
  byId("other").replaceChildren(element("option", { value: "", textContent: "nothing" }),
    ...[...found].map(([key, { says }]) => element("option", { value: key, textContent: says, dir: "auto" })));
  byId("other").value = chosen;
  byId("other").disabled = found.size === 0;
  drawPair();
}

const isClose = (first, second) =>
  first.length === second.length && first.every((edge, place) => Math.abs(edge - second[place]) < 1e-3);

// The finer stretches are brought to the coarser ones, if both sides have these; else frames are compared.
function commonStretches(first, second) {
  const shownBy = ({ meta, target }) => meta.resolutions.findIndex(({ edges }) => isClose(edges, target.edges));
  const place = Math.max(shownBy(first), 0);
  const { name } = shownBy(second) > place ? second.meta.resolutions[shownBy(second)] : first.meta.resolutions[place];
  for (const wanted of [name, "frames"]) {
    const [a, b] = [first, second].map(({ meta }) => meta.resolutions.find((own) => own.name === wanted));
    if (a !== undefined && b !== undefined && isClose(a.edges, b.edges)) return [a, b];
  }
  return null;
}

// The first side minus the second, or why there is none.
function difference(first, second) {
  if (first.clip !== second.clip) return { how: "Two utterances have no time in common, and no difference." };
  if (first.unit !== second.unit) return { how: `No difference: one is in ${first.unit}, the other in ${second.unit}.` };
  const common = commonStretches(first, second);
  if (common === null) return { how: "No difference: their frames have different bounds." };
  const [a, b] = common;
  const exact = contrast(first, second);
  if (exact !== null) {
    const values = a.values[exact.index].map((size) => (size === null ? null : exact.sign * size));
    const isUnknown = first.variant.targets[exact.index].reach === null;
    const errors = isUnknown ? null : a.reach[exact.index].map((own) => (own === null ? null : own / first.meta.reach));
    return judged(a.edges, values, errors, first.meta, `The contrast ${exact.name} was explained itself.`);
  }
  const values = a.values[first.index].map((size, place) => {
    const other = b.values[second.index][place];
    return size === null || other === null ? null : size - other;
  });
  if (first.target.reach === null || second.target.reach === null) {
    return judged(a.edges, values, null, first.meta, "Errors are unknown.");
  }
  // With the same seed, draws may be the same ones. Then errors may add up at worst.
  const isIndependent = first.variant !== second.variant && first.meta.seed !== second.meta.seed;
  const errors = a.reach[first.index].map((own, place) => {
    const other = b.reach[second.index][place];
    if (own === null || other === null) return null;
    const [one, two] = [own / first.meta.reach, other / second.meta.reach];
    return isIndependent ? Math.hypot(one, two) : one + two;
  });
  const how = isIndependent
    ? "Independent runs: errors add in quadrature."
    : `${first.variant === second.variant ? "Two targets of one run" : "Two runs with one seed"} ` +
      "may err together: the interval is conservative, with the sum of both errors.";
  // As many degrees of freedom as the side with fewer has.
  const fewer = (second.meta.degrees ?? Infinity) < (first.meta.degrees ?? Infinity) ? second.meta : first.meta;
  return judged(a.edges, values, errors, fewer, how);
}

// The target that is the difference itself, if it was explained.
function contrast({ variant, target }, other) {
  if (variant !== other.variant) return null;
  for (const [name, sign] of [[`${target.name} - ${other.target.name}`, 1], [`${other.target.name} - ${target.name}`, -1]]) {
    const index = variant.targets.findIndex((own) => own.name === name);
    if (index >= 0) return { index, sign, name };
  }
  return null;
}

function judged(edges, values, errors, { degrees, reach }, how) {
  return { edges, values, how, reach: errors === null ? null : errors.map((error) => (error === null ? null : reach * error)),
    significant: errors === null ? null : significance(values, errors, degrees) };
}

// Which values differ from 0, with 5 % false discoveries at most (Benjamini & Hochberg 1995).
function significance(values, errors, degrees) {
  const chances = values.map((size, place) => {
    const isUnknown = size === null || errors[place] === null;
    const t = isUnknown ? NaN : size / errors[place]; // 0 / 0 is NaN: a value that is exactly 0
    return Number.isNaN(t) ? null : chance(t, degrees);
  });
  const falling = chances.filter((each) => each !== null).sort((first, second) => second - first);
  const limit = falling.find((each, place) => each <= 0.05 * (falling.length - place) / falling.length) ?? -1;
  return chances.map((each) => each !== null && each <= limit);
}

// Probability of a greater t on either side: the regularised incomplete beta function I(1/2, n/2) of t^2 / (n + t^2).
function chance(t, degrees) {
  if (!Number.isFinite(t)) return 0;
  const n = degrees ?? 1e5; // from which on it is that of the normal distribution
  const x = t * t / (n + t * t);
  const [a, b] = [0.5, n / 2];
  const front = Math.exp(logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log(1 - x));
  return x < (a + 1) / (a + b + 2) ? 1 - front * fraction(a, b, x) / a : front * fraction(b, a, 1 - x) / b;
}

// Continued fraction of the incomplete beta function by Lentz's method (Press et al. 2007, section 6.4).
function fraction(a, b, x) {
  let [c, d] = [1, 1 / (1 - (a + b) * x / (a + 1))];
  let product = d;
  for (let m = 1; m < 1000; m += 1) {
    for (const term of [m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
      -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))]) {
      d = 1 / (1 + term * d);
      c = 1 + term / c;
      product *= c * d;
    }
    if (Math.abs(c * d - 1) < 1e-14) break;
  }
  return product;
}

// Logarithm of the gamma function by Stirling's series, from 10 on.
function logGamma(z) {
  let [shift, x] = [0, z];
  for (; x < 10; x += 1) shift += Math.log(x);
  return (x - 0.5) * Math.log(x) - x + Math.log(2 * Math.PI) / 2 + 1 / (12 * x) - 1 / (360 * x ** 3) + 1 / (1260 * x ** 5) - shift;
}

const named = ({ clip, variant, target, unit }, isClip) =>
  `${isClip ? `${clip}, ` : ""}${target.name}, ${variant.name} (${unit}${target.reach === null ? "; no errors: significance unknown" : ""})`;

function drawPair() {
  if (state.payload === null) return;
  const other = others().get(byId("other").value);
  pair.hidden = other === undefined;
  byId("compared").textContent = "";
  if (other === undefined) return;
  const [first, second] = [sideOf(variantNow(), targetNow()), other.side];
  const between = difference(first, second);
  const doubt = between.significant && !between.significant.includes(true) ? " Nothing of it is significant." : "";
  byId("compared").textContent = between.how + doubt;
  const isClip = first.clip !== second.clip;
  const sides = [[named(first, isClip), first], [named(second, isClip), second]];
  if (between.values !== undefined) {
    const title = `difference (${first.unit}); orange: more for the upper, blue: for the lower`;
    sides.push([title, { target: { name: "difference", ...between }, unit: first.unit }]);
  }
  const [data, layout] = pairFigure(sides, isClip);
  pair.style.minHeight = `${layout.height}px`;
  Plotly.react(pair, data, layout, { responsive: true, displayModeBar: false, plotlyServerURL: "", topojsonURL: "" });
}

// Panels below each other. Those of one utterance have one time axis, and amounts of one unit have one scale.
function pairFigure(sides, isClip) {
  const [gap, panel] = [isClip ? 84 : 38, 130];
  const inside = sides.length * panel + (sides.length - 1) * gap;
  const letters = Math.floor((picture.clientWidth - picture.layout.margin.l) / 6.4);
  const line = { gridcolor: style("--line"), linecolor: style("--line"), zerolinecolor: style("--quiet") };
  const layout = { ...picture.layout, annotations: [], shapes: [], meta: {}, height: inside + 80,
    margin: { ...picture.layout.margin, t: 36 } };
  for (const name of Object.keys(layout).filter((key) => /^([xy]axis|coloraxis)/.test(key))) delete layout[name];
  const data = sides.flatMap(([title, { target, unit }], number) => {
    const own = number === 0 ? "" : String(number + 1);
    const top = 1 - number * (panel + gap) / inside;
    const time = isClip ? own : "";
    layout[`yaxis${own}`] = { ...line, domain: [Math.max(0, top - panel / inside), top], anchor: `x${time}`, fixedrange: true };
    if (number === 1 && sides[0][1].unit === unit) layout.yaxis2.matches = "y";
    layout[`xaxis${time}`] = { ...line, domain: [0, 0.88], range: [0, target.edges.at(-1)], title: { text: "time (s)" },
      anchor: isClip ? `y${own}` : `y${sides.length}`, zeroline: false, minallowed: 0, maxallowed: target.edges.at(-1) };
    layout.annotations.push({ text: wrapped(escaped(title), letters), x: 0, y: top, xref: "paper", yref: "paper",
      xanchor: "left", yanchor: "bottom", align: "left", showarrow: false, font: { size: 12 } });
    return frameTraces(target, unit, { yaxis: `y${own}`, xaxis: `x${time}` });
  });
  if (!isClip) layout.xaxis.range = [...picture.layout.xaxis.range];
  return [data, layout];
}

// A comparison within an utterance shows the stretch that the picture shows.
function followZoom() {
  if (pair.hidden || pair.layout === undefined || pair.layout.xaxis2 !== undefined) return;
  const { range } = picture.layout.xaxis;
  if (String(pair.layout.xaxis.range) !== String(range)) Plotly.relayout(pair, { "xaxis.range": [...range] });
}

byId("other").addEventListener("change", drawPair);
byId("keep").addEventListener("click", () => {
  state.kept = sideOf(variantNow(), targetNow());
  byId("keep").textContent = `Kept: ${state.kept.clip}, ${state.kept.target.name}. Choose another utterance.`;
  fillOthers();
});
