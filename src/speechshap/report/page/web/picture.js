// The picture of an explanation.

const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const NUMBERS = { i1: Int8Array, f4: Float32Array, f8: Float64Array };

const decoded = new WeakMap();

// Rows of an array as plotly.py writes it.
function rowsOf(array) {
  if (!decoded.has(array)) decoded.set(array, decodedRows(array));
  return decoded.get(array);
}

function decodedRows({ dtype, bdata, shape }) {
  const bytes = Uint8Array.from(atob(bdata), (character) => character.charCodeAt(0));
  const [count, columns] = shape.split(",").map(Number);
  const values = new NUMBERS[dtype](bytes.buffer);
  return Array.from({ length: count }, (_, row) => values.subarray(row * columns, (row + 1) * columns));
}

function themed(trace) {
  const ink = style("--ink");
  const role = trace.meta?.role;
  if (role === "ink") trace.line = { ...trace.line, color: ink };
  if (role === "ink" && trace.fill) trace.fillcolor = ink;
  if (role === "labels") trace.textfont = { color: ink, size: 11 };
  if (role === "pitch") trace.line = { ...trace.line, color: style("--accent") };
  if (role === "intensity") trace.line = { ...trace.line, color: style("--quiet") };
  if (role === "spectrogram") {
    trace.colorscale = [[0, "rgba(128,128,128,0)"], [1, ink]];
    const columns = Number(trace.z.shape.split(",")[1]);
    trace.customdata = trace.meta.hertz.map((hertz) => Array(columns).fill(frequency(hertz)));
  }
  return trace;
}

const frequency = (hertz) => (hertz < 1000 ? `${hertz.toFixed(0)} Hz` : `${(hertz / 1000).toPrecision(3)} kHz`);

// What the cells of a time-frequency attribution tell, from the steps that they are stored in.
function readable(cells, sure) {
  const { scale, unit, known } = cells.meta;
  const step = scale / cells.zmax;
  const [values, margins] = [rowsOf(cells.z), cells.customdata ? rowsOf(cells.customdata) : null];
  const significant = known ? rowsOf(sure.z) : null;
  // The first step stands for all below it, the last one for all beyond it.
  const told = (count) => amount(step * count, null).slice(count === 0 ? 0 : 1) +
    ({ 1: " (or less)", [cells.zmax]: " (or more)" }[count] ?? "");
  cells.customdata = values.map((row, number) => Array.from(row, (size, column) => {
    const margin = margins === null ? "" : ` ± ${told(margins[number][column])}`;
    const doubt = known && !significant[number][column] ? ", not significant" : "";
    return `${size > 0 ? "+" : size < 0 ? "−" : ""}${told(Math.abs(size))}${margin} ${escaped(unit)}${doubt}`;
  }));
  cells.hovertemplate = "%{customdata}<extra></extra>";
  delete cells.hoverinfo;
}

// Marks over the first panel, of a height in pixels: the strongest moments in it, and above it what is heard and what is known.
function shapes(panelHeight) {
  const [variant, target] = [variantNow(), targetNow()];
  // Wide enough to be visible in a long sound.
  const narrowest = target.edges.at(-1) / 400;
  const above = (bottom, top) => ({ xref: "x", yref: "y domain", y0: 1 + bottom / panelHeight, y1: 1 + top / panelHeight });
  const marks = target.strongest.map((frame) => {
    const [begin, end] = [target.edges[frame], target.edges[frame + 1]];
    const widen = Math.max(0, narrowest - (end - begin)) / 2;
    return {
      type: "rect", xref: "x", yref: "y domain", x0: begin - widen, x1: end + widen, y0: 0, y1: 1, name: "strongest",
      line: { width: 0 }, fillcolor: page.colours[target.values[frame] > 0 ? "for" : "against"], opacity: 0.4,
    };
  });
  const windows = target.windows.map(([x0, x1]) => ({
    type: "rect", x0, x1, ...above(3, 8), line: { width: 0 }, fillcolor: style("--accent"), name: "window",
  }));
  const line = { color: style("--truth"), width: 2 };
  const brackets = variant.truth.flatMap(([x0, x1]) => [
    { type: "line", x0, x1, ...above(17, 17), line, name: "truth" },
    { type: "line", x0, x1: x0, ...above(11, 17), line }, { type: "line", x0: x1, x1, ...above(11, 17), line },
  ]);
  return [...marks, ...windows, ...brackets, ...boxes(variant)];
}

// Where the evidence is known to be in time and frequency.
function boxes({ truth, figure }) {
  const axis = figure.layout.meta.axes.spectrogram;
  if (axis === undefined) return [];
  const { range, tickvals } = figure.layout[axis.replace("y", "yaxis")];
  const place = (hertz) => (tickvals ? 2595 * Math.log10(1 + hertz / 700) : hertz / 1000);
  // With a rim, since the spectrogram is dark here and light there.
  const lines = [{ color: style("--ground"), width: 4 }, { color: style("--truth"), width: 2, dash: "dash" }];
  return truth.flatMap(([x0, x1, low, high]) => lines.map((line) => ({
    type: "rect", xref: "x", yref: axis, x0, x1, y0: low === null ? range[0] : place(low), name: "box",
    y1: high === null ? range[1] : place(high), line,
  })));
}

// All explanations of the utterance side by side, which are stored with the first of them.
function addComparison(data, layout) {
  const { traces, labels } = structuredClone(state.payload[0].compared[targetNow().name]);
  const yaxis = layout.meta.axes.compared;
  data.push(...traces.map((trace) => ({ ...trace, yaxis })));
  layout.annotations.push(...labels.map((label) => ({ ...label, yref: yaxis })));
}

// Nothing leaves this page. By itself, plotly's toolbar offers to upload the picture, and has a link to its makers.
const PLOTLY_OPTIONS = {
  responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "", topojsonURL: "",
  modeBarButtonsToRemove: ["select2d", "lasso2d", "toImage"], // the buttons below save it for print
};

// Words in lines of so many letters.
function wrapped(text, letters) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1) !== "" && lines.at(-1).length + word.length >= letters) lines.push("");
    lines.push(`${lines.pop()} ${word}`.trim());
  }
  return lines.join("<br>");
}

// Margins and lines of titles for a width in pixels.
function fit(layout, target, width) {
  if (width < 600) {
    // The toolbar needs a line of its own.
    layout.margin.t += 24;
    layout.height += 24;
    const isBeside = ({ name, xanchor }) => name === "row" && xanchor === "right";
    if (layout.meta.layers.length === 0 && !layout.annotations.some(isBeside)) layout.margin.l = 46;
    if (layout.xaxis2) layout.xaxis2.nticks = 2;
  }
  for (const title of layout.annotations) {
    if (title.name === "frames") title.text = escaped(target.title);
    const letters = Math.floor((width - layout.margin.l) / (0.53 * title.font.size));
    if (title.xanchor === "left") title.text = wrapped(title.text, letters);
  }
  layout.annotations[0].yshift = 20; // above the marks
}

// Titles are broken for a width, of which small changes do not matter.
const widthNow = () => Math.round(picture.clientWidth / 100);

// Traces and layout of what is chosen, in the colours of the theme, for a width in pixels.
function pictureFigure(width) {
  const [variant, target] = [variantNow(), targetNow()];
  const layout = structuredClone(variant.figure.layout);
  const isShown = ({ meta }) => meta?.target === undefined || meta.target === state.target;
  const data = variant.figure.data.filter(isShown).map((trace) => ({ ...structuredClone(trace), visible: true }));
  if (state.payload.length > 1) addComparison(data, layout);
  data.forEach(themed);
  const cells = data.findIndex((trace) => trace.meta?.role === "cells");
  if (cells >= 0) readable(data[cells], data[cells + 1]);
  data.push(...frameTraces(target, variant.unit, { yaxis: layout.meta.axes.frames }));
  fit(layout, target, width);
  const grid = { gridcolor: style("--line"), linecolor: style("--line"), zerolinecolor: style("--quiet") };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) Object.assign(layout[name], grid);
  const inside = layout.height - layout.margin.t - layout.margin.b;
  const panelHeight = inside * (layout.yaxis.domain[1] - layout.yaxis.domain[0]);
  Object.assign(layout, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: style("--ink"), size: 12 },
    hoverlabel: { bgcolor: style("--panel"), font: { color: style("--ink") } }, shapes: shapes(panelHeight), template: {},
    hoversubplots: "axis", modebar: { bgcolor: "rgba(0,0,0,0)", color: style("--quiet"), activecolor: style("--ink") },
  });
  // The zoom is kept where target, explanation or theme change.
  if (picture.utterance === state.utterance) layout.xaxis.range = picture.layout.xaxis.range;
  return { data, layout };
}

function draw() {
  const { data, layout } = pictureFigure(picture.clientWidth);
  picture.isDrawnFor = widthNow();
  picture.utterance = state.utterance;
  const inside = layout.height - layout.margin.t - layout.margin.b;
  Object.assign(byId("cursor").style, { top: `${layout.margin.t}px`, height: `${inside}px` });
  Object.assign(byId("selection").style, { top: `${layout.margin.t}px`, height: `${inside}px` });
  picture.style.minHeight = `${layout.height}px`;
  state.drawn = Plotly.react(picture, data, layout, PLOTLY_OPTIONS).then(() => {
    placeMarks();
    if (picture.listens) return;
    picture.listens = true;
    picture.on("plotly_click", clicked);
    for (const event of ["plotly_relayout", "plotly_relayouting", "plotly_afterplot"]) picture.on(event, placeMarks);
    picture.on("plotly_relayout", followZoom);
  });
  drawPair();
  return state.drawn;
}

// A click on a segment plays it alone, any other plays from its moment on.
function clicked({ event, points }) {
  const seconds = secondsAt(event.clientX);
  if (seconds === null) return;
  const axis = axisAt(event.clientY);
  const segment = points.find(({ data, customdata }) => ["segments", "labels"].includes(data.meta?.role) &&
    data.yaxis === axis && customdata[0] <= seconds && seconds < customdata[1]);
  if (segment !== undefined) return hearStretch(...segment.customdata);
  setSelection(null);
  return hear(seconds);
}

// The panels' own boxes on the screen.
const panels = () => [...picture.querySelectorAll(".nsewdrag")].map((panel) => [panel, panel.getBoundingClientRect()]);

// The moment under a pixel, null beside the panels. Plotly's own event has the nearest point of some trace instead.
function secondsAt(x) {
  const [[, box]] = panels();
  const [first, last] = picture.layout.xaxis.range;
  const share = (x - box.left) / box.width;
  return share < 0 || share > 1 ? null : first + share * (last - first);
}

// The axis of the panel that a pixel is in (y3).
function axisAt(y) {
  const found = panels().find(([, box]) => box.top <= y && y <= box.bottom);
  return found === undefined ? null : found[0].dataset.subplot.slice(1);
}

// Cursor and selection lie over the picture, so that moving them draws nothing anew.
function placeMarks() {
  const [[, box]] = panels();
  const left = box.left - byId("stage").getBoundingClientRect().left;
  const [first, last] = picture.layout.xaxis.range;
  const pixel = (seconds) => left + box.width * (Math.min(last, Math.max(first, seconds)) - first) / (last - first);
  byId("cursor").hidden = state.seconds < first || state.seconds > last;
  byId("cursor").style.left = `${pixel(state.seconds)}px`;
  const chosen = state.selection;
  byId("selection").hidden = chosen === null || chosen[1] <= first || chosen[0] >= last;
  if (chosen !== null) {
    Object.assign(byId("selection").style, {
      left: `${pixel(chosen[0])}px`, width: `${Math.max(1, pixel(chosen[1]) - pixel(chosen[0]))}px`,
    });
  }
}

// Turn the page where the cursor has left it, as far as the picture is zoomed.
function turnPage() {
  const [first, last] = picture.layout.xaxis.range;
  if (state.seconds >= first && state.seconds <= last) return null;
  const [width, end] = [last - first, targetNow().edges.at(-1)];
  const left = Math.min(Math.max(0, state.seconds - 0.05 * width), end - width);
  return Plotly.relayout(picture, { "xaxis.range": [left, left + width] });
}

function zoom(factor) {
  const [first, last] = picture.layout.xaxis.range;
  const width = Math.min(targetNow().edges.at(-1), (last - first) * factor);
  return zoomTo(state.seconds - width / 2, width);
}

function zoomTo(first, width) {
  const left = Math.min(Math.max(0, first), targetNow().edges.at(-1) - width);
  return Plotly.relayout(picture, { "xaxis.range": [left, left + width] });
}

window.addEventListener("resize", () => {
  if (state.payload !== null && picture.isDrawnFor !== widthNow()) draw();
});
