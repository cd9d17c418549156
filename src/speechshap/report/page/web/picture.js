// The picture of an explanation.

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

// Nothing leaves this page. By itself, plotly's toolbar offers to upload the picture, and has a link to its makers.
const PLOTLY_OPTIONS = {
  responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "", topojsonURL: "",
  modeBarButtonsToRemove: ["select2d", "lasso2d"],
};

// Traces and layout of what is chosen, in the colours of the theme.
function pictureFigure() {
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
  return { data, layout };
}

function draw() {
  const { data, layout } = pictureFigure();
  picture.utterance = state.utterance;
  picture.style.minHeight = `${layout.height}px`;
  state.drawn = Plotly.react(picture, data, layout, PLOTLY_OPTIONS).then(() => {
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
