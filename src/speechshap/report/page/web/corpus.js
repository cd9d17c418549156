// Figures of the corpus as a whole.

const corpusFigures = [];

function fillCorpus() {
  byId("corpus").hidden = page.corpus.length === 0;
  byId("figures").append(...page.corpus.map(corpusFigure));
}

// A picture, or a plotly figure that is drawn once it can be seen, a click on whose dots opens their utterances.
function corpusFigure({ caption, png, figure }) {
  const plot = figure ? element("div", { className: "plot" }) : element("img", {
    src: `data:image/png;base64,${png}`, alt: caption, loading: "lazy",
  });
  const name = `${caption.replaceAll(/[^\p{L}\p{N}]+/gu, "_").slice(0, 80)}.png`;
  const saver = element("button", { type: "button", textContent: "Save as PNG", onclick: () => download(binary(png, "image/png"), name) });
  saver.setAttribute("aria-label", `Save as PNG: ${caption}`);
  if (figure) {
    plot.style.minHeight = `${figure.layout.height}px`; // keeps its place, so that it is drawn only when scrolled to
    plot.setAttribute("role", "group");
    plot.setAttribute("aria-label", caption);
    new IntersectionObserver((seen, observer) => {
      if (!seen.some(({ isIntersecting }) => isIntersecting)) return;
      observer.disconnect();
      const shownFigure = { plot, figure };
      corpusFigures.push(shownFigure);
      drawCorpusFigure(shownFigure);
    }).observe(plot);
  }
  return element("figure", {}, plot, element("figcaption", {}, caption,
    figure ? ". A click on a dot opens its utterance. " : " ", saver));
}

const NARROW = 600; // pixels

// On a narrow page panels lie below each other, and lines are shorter.
function narrowed(layout, width) {
  const numbers = Object.keys(layout).filter((key) => key.startsWith("yaxis")).map((key) => key.slice(5));
  const { margin } = layout;
  const inside = layout.height - margin.t - margin.b;
  const [first, last] = layout.yaxis.domain;
  const panel = inside * (last - first);
  const { gap, line } = layout.meta; // pixels between panels, and of a line of text
  const newInside = numbers.length * (panel + gap) - gap;
  const [across, beside] = [width, width - margin.l].map((pixels) => Math.floor(pixels / 6.8));
  const lines = (text, letters = across) => wrapped(text.replaceAll("<br>", " "), letters);
  const [axis, ...titles] = layout.annotations;
  axis.text = lines(axis.text, beside);
  margin.b += line * (axis.text.split("<br>").length - 1);
  numbers.forEach((number, place) => {
    const top = 1 - place * (panel + gap) / newInside;
    Object.assign(layout[`xaxis${number}`], { domain: [0, 1], showticklabels: place === numbers.length - 1 });
    Object.assign(layout[`yaxis${number}`], { domain: [Math.max(0, top - panel / newInside), top], showticklabels: true });
    Object.assign(titles[place], { text: lines(titles[place].text, beside), y: top });
  });
  const { title } = layout;
  const [heading, ...legend] = title.text.split("<br>");
  title.text = [heading, legend.join(" ")].map((text) => lines(text)).join("<br>");
  Object.assign(title, { x: 0, xref: "container" });
  const bar = 80; // of the colours, above the panels
  margin.t += line * (title.text.split("<br>").length - legend.length - 1) + bar;
  const { colorbar } = layout.coloraxis;
  Object.assign(colorbar, { orientation: "h", x: 0.5, xanchor: "center", len: 0.8, y: 1 + 24 / newInside, yanchor: "bottom" });
  const { title: measure } = colorbar;
  Object.assign(measure, { side: "top", text: lines(measure.text, beside) });
  layout.height = newInside + margin.t + margin.b;
}

async function drawCorpusFigure(shownFigure) {
  const { plot, figure } = shownFigure;
  const { data, layout } = structuredClone(figure);
  shownFigure.drawnFor = plot.clientWidth;
  if (plot.clientWidth < NARROW) narrowed(layout, plot.clientWidth);
  plot.style.minHeight = `${layout.height}px`;
  const axis = { gridcolor: style("--line"), linecolor: style("--line"), zerolinecolor: style("--quiet") };
  for (const key of Object.keys(layout).filter((each) => /^[xy]axis/.test(each))) Object.assign(layout[key], axis);
  Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", template: {} });
  layout.font = { ...layout.font, color: style("--ink") };
  layout.hoverlabel = { bgcolor: style("--panel"), font: { color: style("--ink") } };
  if (document.documentElement.dataset.theme === "dark" && layout.meta?.colorscale_on_black) {
    layout.coloraxis.colorscale = layout.meta.colorscale_on_black;
  }
  for (const trace of data.filter(({ meta }) => meta?.role === "marks")) {
    trace.marker.color = style("--ink");
    trace.error_x.color = style("--ink");
  }
  await Plotly.react(plot, data.map(themed), layout, PLOTLY_OPTIONS);
  if (plot.listens) return;
  plot.listens = true;
  plot.on("plotly_click", ({ points }) => {
    const number = numberOf(String([points[0].customdata].flat()[0]));
    if (number >= 0) openUtterance(number);
  });
}

const drawCorpus = () => Promise.all(corpusFigures.map(drawCorpusFigure));

window.addEventListener("resize", () => {
  // Plotly itself fits a wide one to its new width.
  const isMoved = ({ plot, drawnFor }) => plot.clientWidth !== drawnFor && Math.min(plot.clientWidth, drawnFor) < NARROW;
  corpusFigures.filter(isMoved).forEach(drawCorpusFigure);
});
