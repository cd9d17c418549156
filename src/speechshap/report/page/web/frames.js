// The curve of a target's frames, or of longer stretches: what is significant is filled, the rest is a thin line.

// Plotly reads tags, and values to be filled in after %{.
const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", "%{": "%&#123;" };
const escaped = (text) => text.replaceAll(/[&<>]|%\{/g, (found) => ESCAPES[found]);
const steps = (values) => [...values, values.at(-1)];

// With their interval, where it is known. Values that are not finite are null, and gaps.
function frameTraces({ name, edges, values, reach, significant }, unit, axes) {
  const line = { x: edges, mode: "lines", hoverinfo: "skip", showlegend: false, ...axes };
  const drawn = (own, rest) => ({ ...line, y: steps(own), ...rest, line: { shape: "hv", width: 0, ...rest.line } });
  const traces = [];
  if (reach !== null) {
    const limits = (side) => values.map((size, place) => (size === null || reach[place] === null ? null : size + side * reach[place]));
    traces.push(drawn(limits(-1), {}), drawn(limits(1), { fill: "tonexty", fillcolor: "rgba(128,128,128,0.3)" }));
  }
  if (significant !== null) {
    for (const [side, colour] of [[1, "for"], [-1, "against"]]) {
      const own = values.map((size, place) => (significant[place] && size * side > 0 ? size : 0));
      if (own.some(Boolean)) {
        traces.push(drawn(own, { fill: "tozeroy", fillcolor: page.colours[colour], meta: { role: colour } }));
      }
    }
  }
  const ink = significant === null ? { color: style("--ink"), width: 1.6 } : { color: style("--quiet"), width: 1 };
  const middles = values.map((_, place) => (edges[place] + edges[place + 1]) / 2);
  const texts = values.map((size, place) => {
    const stretch = edges[place + 1] - edges[place] > 0.03 ? `, ${span(edges[place], edges[place + 1])}` : "";
    const doubt = significant !== null && !significant[place] ? ", not significant" : "";
    return `${escaped(name)}${stretch}: ${amount(size, reach === null ? null : reach[place])} ${escaped(unit)}${doubt}`;
  });
  // The pointer reads values from the middles of the frames: steps have theirs at the bounds.
  const read = { x: middles, y: values, text: texts, hovertemplate: "%{text}<extra></extra>", line: { width: 0 } };
  traces.push(drawn(values, { line: ink, meta: { role: "steps" } }), { ...line, ...read, hoverinfo: null });
  return traces;
}

const span = (first, last) => `${first.toFixed(2)} to ${last.toFixed(2)} s`;

// What colours and marks mean, to be read without hovering.
function showKey() {
  const [variant, target] = [variantNow(), targetNow()];
  const entry = (mark, ...words) => element("li", {}, element("span", { className: `mark ${mark}` }), ...words);
  const name = () => element("bdi", { textContent: target.name });
  const known = target.significant !== null;
  const entries = variant.signed
    ? [entry("for", "speaks for ", name()), entry("against", "speaks against ", name())]
    : [entry("for", "attribution, whose sign says nothing of ", name())];
  const doubt = target.reach === null ? "no errors: significance unknown" : "sizes, which are not tested against 0";
  entries.push(known ? entry("unsure", "hollow or pale: not significant") : element("li", { textContent: doubt }));
  if (target.reach !== null) entries.push(entry("interval", "95 % interval"));
  if (variant.truth.length) entries.push(entry("truth", "known evidence"));
  if (target.windows.length) entries.push(entry("window", variant.sound === null ? "evidence" : "evidence that is heard"));
  entries.push(entry("cursor", "moment"));
  byId("key").replaceChildren(...entries);
}
