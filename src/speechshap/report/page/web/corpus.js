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
    plot.style.minHeight = `${figure.layout?.height ?? 420}px`;
    plot.setAttribute("role", "group");
    plot.setAttribute("aria-label", caption);
    new IntersectionObserver((seen, observer) => {
      if (!seen.some(({ isIntersecting }) => isIntersecting)) return;
      observer.disconnect();
      corpusFigures.push({ plot, figure });
      drawCorpusFigure({ plot, figure });
    }).observe(plot);
  }
  return element("figure", {}, plot, element("figcaption", {}, caption,
    figure ? ". A click on a dot opens its utterance. " : " ", saver));
}

async function drawCorpusFigure({ plot, figure }) {
  const { data, layout } = structuredClone(figure);
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
