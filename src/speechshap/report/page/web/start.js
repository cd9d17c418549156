// Controls, and what happens first.

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
  byId("moment").addEventListener("input", () => hear(momentEdges()[Number(byId("moment").value)], !player.paused));
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
