"use strict";

const page = JSON.parse(document.getElementById("page").textContent);
const byId = (id) => document.getElementById(id);
const player = byId("player");
const picture = byId("picture");
const COLUMNS = [
  { key: "utterance", title: "Utterance" },
  { key: "label", title: "Label" },
  { key: "prediction", title: "Prediction" },
  { key: "probability", title: "Prob.", says: "Probability of the prediction", digits: 2 },
  { key: "error", title: "Error", says: "Relative error of the frames", digits: 2 },
  { key: "gap", title: "Gap", says: "Completeness gap", digits: 2 },
  { key: "seconds", title: "Length", says: "Length in seconds", digits: 1 },
];
const state = {
  sort: { key: null, falling: false }, utterance: null, payload: null, variant: 0, target: 0, seconds: 0, pcm: null,
};

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const shown = (cell, digits) => (cell === null ? "–" : digits === undefined ? cell : cell.toFixed(digits));
const counted = (count) => (count === 1 ? "1 utterance" : `${count} utterances`);
// A regression predicts no class.
const predicted = (entry) => entry.prediction ?? entry.outputs;
const outcome = (entry) =>
  (entry.label === null || entry.prediction === null ? "unknown" : entry.label === entry.prediction ? "right" : "wrong");

// ---- the table ----

function matching() {
  const name = byId("by-name").value.toLowerCase();
  const [wanted, emotion, most] = ["by-outcome", "by-class", "by-error"].map((id) => byId(id).value);
  const numbers = page.entries.map((_, number) => number).filter((number) => {
    const entry = page.entries[number];
    return entry.utterance.toLowerCase().includes(name) && (!wanted || outcome(entry) === wanted) &&
      (!emotion || entry.label === emotion || entry.prediction === emotion) &&
      (most === "" || (entry.error !== null && entry.error <= Number(most)));
  });
  const { key, falling } = state.sort;
  if (key !== null) {
    const cell = (number) => page.entries[number][key];
    numbers.sort((first, second) => {
      const [a, b] = [cell(first), cell(second)];
      // Unknown values come last in both directions.
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
      return falling ? -order : order;
    });
  }
  return numbers;
}

function fillTable() {
  const numbers = matching();
  byId("rows").replaceChildren(...numbers.map(tableRow));
  const wrong = numbers.filter((number) => outcome(page.entries[number]) === "wrong").length;
  byId("shown").textContent = `${numbers.length} of ${counted(page.entries.length)}, ${wrong} of them wrong` +
    (numbers.length ? "" : "; none matches the filters");
  for (const header of byId("columns").children) {
    const { key, falling } = state.sort;
    header.setAttribute("aria-sort", header.dataset.key !== key ? "none" : falling ? "descending" : "ascending");
    header.firstChild.textContent = header.dataset.title + (header.dataset.key !== key ? "" : falling ? " ↓" : " ↑");
  }
}

function tableRow(number) {
  const entry = page.entries[number];
  const cells = COLUMNS.map(({ key, digits }) => {
    if (key !== "utterance") {
      const cell = key === "prediction" ? predicted(entry) : entry[key];
      return element("td", { textContent: shown(cell, digits), className: digits ? `${key} number` : key });
    }
    const isHere = entry.part === page.part;
    const link = isHere
      ? element("button", { type: "button", textContent: entry.utterance, onclick: () => choose(number, true) })
      : element("a", { textContent: entry.utterance, href: `${page.files[entry.part]}#${number}` });
    return element("th", { className: key, scope: "row" }, link);
  });
  const row = element("tr", { className: outcome(entry) }, ...cells);
  row.dataset.number = number;
  row.setAttribute("aria-current", String(number === state.utterance));
  return row;
}

// ---- one utterance ----

async function unpack(number) {
  const text = byId(`payload-${number}`).textContent;
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

async function choose(number, focus = false) {
  const entry = page.entries[number];
  state.utterance = number;
  state.seconds = 0;
  silence();
  for (const row of byId("rows").children) {
    row.setAttribute("aria-current", String(Number(row.dataset.number) === number));
  }
  const payload = await unpack(number);
  if (state.utterance !== number) return;
  Object.assign(state, { payload, variant: 0, target: 0 });
  if (location.hash !== `#${number}`) {
    // The first utterance that a page shows gets no entry of its own in the history.
    history[location.hash === "" ? "replaceState" : "pushState"](null, "", `#${number}`);
  }
  byId("name").textContent = entry.utterance;
  const truth = entry.label === null ? "no label" : `labelled ${entry.label}`;
  const length = shown(entry.seconds, 2);
  const probability = entry.probability === null ? "" : ` with ${(100 * entry.probability).toFixed(0)} %`;
  byId("facts").textContent = `predicted ${predicted(entry)}${probability}, ${truth}, ${length} s`;
  fillSelect(byId("variant"), payload.map((variant) => variant.name), 0);
  byId("variant").parentElement.hidden = payload.length < 2;
  await showVariant();
  if (focus) byId("viewer").focus({ preventScroll: false });
}

function fillSelect(select, names, chosen) {
  select.replaceChildren(...names.map((name, number) => element("option", { value: number, textContent: name })));
  select.value = chosen;
  select.disabled = names.length < 2;
}

const variantNow = () => state.payload[state.variant];
const targetNow = () => variantNow().targets[state.target];

async function showVariant() {
  const variant = variantNow();
  const same = variant.targets.findIndex((target) => target.name === state.targetName);
  state.target = Math.max(0, same);
  fillSelect(byId("target"), variant.targets.map((target) => target.name), state.target);
  const isHeard = variant.sound !== null;
  byId("no-sound").hidden = isHeard;
  byId("sounds").disabled = !isHeard;
  player.hidden = !isHeard;
  draw();
  showTarget();
  silence();
  if (!isHeard) return;
  // A sound that several explanations share is stored with the first of them.
  const text = typeof variant.sound === "number" ? state.payload[variant.sound].sound : variant.sound;
  const pcm = await decode(text);
  if (variant !== variantNow()) return;
  state.pcm = pcm;
  await hear(state.seconds, false);
}

function showTarget() {
  const [variant, target] = [variantNow(), targetNow()];
  byId("moment").max = target.edges.length - 2;
  byId("reservation").hidden = target.reservation === null;
  byId("reservation").textContent = target.reservation ?? "";
  const list = target.strongest.map((frame) => {
    const text = `${target.edges[frame].toFixed(2)} s: ${value(frame)}`;
    const button = element("button", { type: "button", textContent: text, onclick: () => hear(target.edges[frame]) });
    button.setAttribute("aria-label", `Play from ${text} ${variant.unit}`);
    return element("li", {}, button);
  });
  byId("strongest").replaceChildren(...list);
  const strongest = variant.signed ? `Strongest moments for (+) and against (−) ${target.name}` : "Strongest moments";
  byId("strongest-heading").textContent = list.length
    ? `${strongest}, in ${variant.unit}` +
      (target.reach === null ? "" : ", with their 95 % intervals")
    : `No moment speaks for or against ${target.name}`;
  const where = target.strongest.slice(0, 3).map((frame) => `${target.edges[frame].toFixed(2)} s (${value(frame)})`);
  const sum = where.length ? `; strongest at ${where.join(", ")} ${variant.unit}` : "";
  byId("said").textContent = `Attribution to ${target.name} over time${sum}. The slider reads every moment.`;
  showSegments(target.segments);
  showCues(target.cues);
  setMoment(state.seconds);
}

function showSegments(segments) {
  byId("segments").hidden = segments.length === 0;
  byId("segments-heading").textContent = `Segments, in ${variantNow().unit}`;
  byId("segment-rows").replaceChildren(...segments.map(([tier, label, first, last, size, reach]) => {
    const play = element("button", { type: "button", textContent: label, onclick: () => hear(first) });
    play.setAttribute("aria-label", `Play ${label} from ${first.toFixed(2)} s`);
    return element("tr", { className: reach !== null && Math.abs(size) <= reach ? "unsure" : "" },
      element("td", { textContent: tier }),
      element("th", { scope: "row", title: `${first.toFixed(2)} to ${last.toFixed(2)} s` }, play),
      element("td", { className: "number", textContent: amount(size, reach) }));
  }));
}

function showCues(cues) {
  byId("cues").hidden = cues === null;
  if (cues === null) return;
  byId("cue-rule").textContent = cues.rule;
  byId("cue-rows").replaceChildren(...cues.rows.map(([title, unit, description, ...sides]) => element("tr", {},
    element("th", { scope: "row", textContent: `${title} (${unit})`, title: description }),
    ...sides.map((side) => element("td", { className: "number", textContent: shown(side, 2) })))));
}

function value(frame) {
  const target = targetNow();
  return amount(target.values[frame], target.reach === null ? null : target.reach[frame]);
}

function amount(size, reach) {
  if (size === null) return "not finite";
  const sign = size > 0 ? "+" : size < 0 ? "−" : "";
  const plain = (number) => {
    const absolute = Math.abs(number);
    if (absolute !== 0 && absolute < 1e-3) return absolute.toExponential(1);
    return absolute < 100 ? absolute.toPrecision(2) : absolute.toFixed(0);
  };
  return reach === null ? `${sign}${plain(size)}` : `${sign}${plain(size)} ± ${plain(reach)}`;
}

// ---- the picture ----

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function themed(trace) {
  const ink = style("--ink");
  if (trace.meta?.role === "ink") trace.line = { ...trace.line, color: ink };
  if (trace.meta?.role === "ink" && trace.fill) trace.fillcolor = ink;
  if (trace.meta?.role === "labels") trace.textfont = { color: ink, size: 11 };
  if (trace.meta?.role === "spectrogram") trace.colorscale = [[0, "rgba(128,128,128,0)"], [1, ink]];
  return trace;
}

function shapes() {
  const target = targetNow();
  // Wide enough to be visible in a long sound.
  const narrowest = target.edges.at(-1) / 400;
  const marks = target.strongest.map((frame) => {
    const [begin, end] = [target.edges[frame], target.edges[frame + 1]];
    const widen = Math.max(0, narrowest - (end - begin)) / 2;
    return {
      type: "rect", xref: "x", yref: "y domain", x0: begin - widen, x1: end + widen, y0: 0, y1: 1,
      line: { width: 0 }, fillcolor: page.colours[target.values[frame] > 0 ? "for" : "against"], opacity: 0.4,
    };
  });
  const time = state.seconds;
  const cursor = { type: "line", xref: "x", yref: "paper", x0: time, x1: time, y0: 0, y1: 1,
    line: { color: style("--for"), width: 2 } };
  return [cursor, ...marks];
}

// All explanations of the utterance side by side, which are stored with the first of them.
function addComparison(data, layout) {
  const { traces, labels } = structuredClone(state.payload[0].compared[targetNow().name]);
  const axis = layout.meta.compared;
  data.push(...traces.map((trace) => ({ ...trace, yaxis: axis })));
  layout.annotations.push(...labels.map((label) => ({ ...label, yref: axis })));
}

function draw() {
  const { data, layout } = structuredClone(variantNow().figure);
  layout.annotations[layout.meta.frames].text = targetNow().title;
  if (state.payload.length > 1) addComparison(data, layout);
  for (const trace of data) {
    themed(trace);
    if (trace.meta?.target !== undefined) trace.visible = trace.meta.target === state.target;
  }
  const grid = { gridcolor: style("--line"), linecolor: style("--line"), zerolinecolor: style("--quiet") };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) Object.assign(layout[name], grid);
  Object.assign(layout, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: style("--ink"), size: 12 },
    hoverlabel: { bgcolor: style("--panel"), font: { color: style("--ink") } }, shapes: shapes(), template: {},
    hoversubplots: "axis", modebar: { bgcolor: "rgba(0,0,0,0)", color: style("--quiet"), activecolor: style("--ink") },
  });
  // The zoom is kept where target, explanation or theme change.
  if (picture.utterance === state.utterance) layout.xaxis.range = picture.layout.xaxis.range;
  picture.utterance = state.utterance;
  // Nothing leaves this page. By itself, plotly's toolbar offers to upload the picture, and has a link to its makers.
  const options = {
    responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "", topojsonURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d"],
  };
  picture.style.minHeight = `${layout.height}px`;
  state.drawn = Plotly.react(picture, data, layout, options).then(() => {
    if (picture.listens) return;
    picture.listens = true;
    picture.on("plotly_click", ({ event }) => {
      const seconds = secondsAt(event.clientX);
      if (seconds !== null) hear(seconds);
    });
  });
  return state.drawn;
}

// The moment under a pixel, null beside the panels. Plotly's own event has the nearest point of some trace instead.
function secondsAt(x) {
  const box = picture.querySelector(".nsewdrag").getBoundingClientRect();
  const [first, last] = picture.layout.xaxis.range;
  const share = (x - box.left) / box.width;
  return share < 0 || share > 1 ? null : first + share * (last - first);
}

function zoom(factor) {
  const end = targetNow().edges.at(-1);
  const [first, last] = picture.layout.xaxis.range;
  const width = Math.min(end, (last - first) * factor);
  const left = Math.min(Math.max(0, state.seconds - width / 2), end - width);
  return Plotly.relayout(picture, { "xaxis.range": [left, left + width] });
}

// ---- sound ----

// Unload the sound, so that it is not played under another picture.
function silence() {
  player.pause();
  if (player.src) URL.revokeObjectURL(player.src);
  player.removeAttribute("src");
  player.load();
  delete player.dataset.key;
  state.pcm = null;
}

async function decode(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const context = new OfflineAudioContext(1, 1, 16000);
  return (await context.decodeAudioData(bytes.buffer)).getChannelData(0);
}

function withGain(pcm, { level, seconds, gains }) {
  const result = new Int16Array(pcm.length);
  let point = 0;
  for (let sample = 0; sample < pcm.length; sample += 1) {
    const time = sample / 16000;
    while (point < seconds.length - 2 && time > seconds[point + 1]) point += 1;
    const width = seconds[point + 1] - seconds[point];
    const share = width > 0 ? Math.min(1, Math.max(0, (time - seconds[point]) / width)) : 1;
    const gain = gains[point] + share * (gains[point + 1] - gains[point]);
    result[sample] = Math.round(32767 * Math.max(-1, Math.min(1, pcm[sample] * gain * level)));
  }
  return result;
}

function wave(samples) {
  const header = new DataView(new ArrayBuffer(44));
  const text = (offset, letters) => [...letters].forEach((letter, i) => header.setUint8(offset + i, letter.charCodeAt(0)));
  text(0, "RIFF"); text(8, "WAVEfmt "); text(36, "data");
  header.setUint32(4, 36 + samples.byteLength, true);
  [[16, 16], [24, 16000], [28, 32000], [40, samples.byteLength]].forEach(([at, number]) => header.setUint32(at, number, true));
  [[20, 1], [22, 1], [32, 2], [34, 16]].forEach(([at, number]) => header.setUint16(at, number, true));
  return new Blob([header, samples], { type: "audio/wav" });
}

async function hear(seconds, play = true) {
  state.seconds = seconds;
  if (state.pcm === null) {
    await showCursor();
    return;
  }
  const chosen = document.querySelector("input[name=sound]:checked").value;
  const key = [state.utterance, state.variant, state.target, chosen].join();
  if (player.dataset.key !== key) {
    if (player.src) URL.revokeObjectURL(player.src);
    player.dataset.key = key;
    player.src = URL.createObjectURL(wave(withGain(state.pcm, targetNow().sounds[chosen])));
    await new Promise((resolve) => player.addEventListener("loadedmetadata", resolve, { once: true }));
    if (player.dataset.key !== key) return;
  }
  player.currentTime = state.seconds; // of the last call, where several waited for the sound
  if (play) await player.play().catch((reason) => { if (reason.name !== "AbortError") throw reason; });
  follow();
}

// Show the current moment on the slider and in the picture.
async function showCursor() {
  setMoment(state.seconds);
  await state.drawn;
  await Plotly.relayout(picture, { "shapes[0].x0": state.seconds, "shapes[0].x1": state.seconds });
}

function setMoment(seconds) {
  const edges = targetNow().edges;
  let frame = edges.findIndex((edge) => edge > seconds + 1e-6) - 1;
  if (frame < 0) frame = edges.length - 2;
  byId("moment").value = frame;
  showMoment();
}

function showMoment() {
  const variant = variantNow();
  const frame = Number(byId("moment").value);
  const text = `${targetNow().edges[frame].toFixed(2)} s: ${value(frame)} ${variant.unit}`;
  byId("at").textContent = text;
  byId("moment").setAttribute("aria-valuetext", text);
}

let following = false;
async function follow() {
  if (following) return;
  following = true;
  let last = null;
  try {
    do {
      const time = player.currentTime;
      if (time !== last && state.pcm !== null) {
        last = time;
        state.seconds = time;
        await showCursor();
      }
      await new Promise(requestAnimationFrame);
      // A player that stands still may have been moved while the cursor was drawn.
    } while ((!player.paused && !player.ended) || (state.pcm !== null && player.currentTime !== last));
  } finally {
    following = false;
  }
}

// ---- controls ----

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").textContent = dark ? "Light" : "Dark";
  if (state.payload !== null) draw();
}

function start() {
  document.title = `Explanations: ${page.title}`;
  byId("notes").hidden = page.notes.length === 0;
  byId("notes").textContent = page.notes.join(". ");
  byId("title").textContent = document.title;
  const known = page.entries.filter((entry) => entry.label !== null);
  const right = known.filter((entry) => entry.label === entry.prediction).length;
  byId("counts").textContent = counted(page.entries.length) +
    // Of a draw with as many right as wrong ones, their number says nothing.
    (known.length && !page.drawn ? `, ${right} of ${known.length} with a label predicted right` : "");
  byId("columns").append(...COLUMNS.map(({ key, title, says = title }) => {
    const header = element("th", { scope: "col" }, element("button", { type: "button", title: says, onclick: () => {
      state.sort = { key, falling: state.sort.key === key && !state.sort.falling };
      fillTable();
    } }));
    Object.assign(header.dataset, { key, title });
    return header;
  }));
  const classes = new Set(page.entries.flatMap((entry) => [entry.label, entry.prediction]).filter((name) => name !== null));
  byId("by-class").append(...[...classes].sort().map((name) => element("option", { value: name, textContent: name })));
  for (const input of byId("filters").elements) input.addEventListener("input", fillTable);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("variant").addEventListener("change", (event) => {
    state.variant = Number(event.target.value);
    showVariant();
  });
  byId("target").addEventListener("change", (event) => {
    state.target = Number(event.target.value);
    state.targetName = targetNow().name;
    draw();
    showTarget();
    hear(state.seconds, !player.paused);
  });
  for (const radio of document.querySelectorAll("input[name=sound]")) {
    radio.addEventListener("change", () => hear(state.seconds, !player.paused));
  }
  byId("moment").addEventListener("input", () => hear(targetNow().edges[Number(byId("moment").value)], !player.paused));
  byId("closer").addEventListener("click", () => zoom(0.5));
  byId("wider").addEventListener("click", () => zoom(2));
  for (const event of ["play", "seeked"]) player.addEventListener(event, follow);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  byId("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme !== "dark"));
  dark.addEventListener("change", () => setTheme(dark.matches));
  setTheme(dark.matches);
  byId("figures").append(...page.corpus.map(({ caption, png }) => element("figure", {},
    element("img", { src: `data:image/png;base64,${png}`, alt: caption, loading: "lazy" }),
    element("figcaption", { textContent: caption }))));
  byId("corpus").hidden = page.corpus.length === 0;
  fillTable();
  const asked = () => Number(location.hash.slice(1) || NaN);
  const isHere = (number) => page.entries[number]?.part === page.part;
  for (const event of ["hashchange", "popstate"]) {
    window.addEventListener(event, () => {
      if (isHere(asked()) && asked() !== state.utterance) choose(asked());
    });
  }
  const first = page.entries.findIndex((entry) => entry.part === page.part);
  choose(isHere(asked()) ? asked() : first);
}

start();
