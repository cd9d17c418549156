// Controls, and what happens first.

function setTheme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").textContent = dark ? "Light" : "Dark";
  if (state.payload !== null) draw();
  drawCorpus();
}

// A browser may keep nothing for a file, or at all.
const storage = {
  get theme() { try { return localStorage.getItem("speechshap-theme"); } catch { return null; } },
  set theme(name) { try { localStorage.setItem("speechshap-theme", name); } catch { /* the next page starts anew */ } },
};

function chooseTarget(place) {
  state.target = place;
  state.targetName = targetNow().name;
  byId("target").value = place;
  draw();
  showTarget();
  hear(state.seconds, !player.paused);
}

function start() {
  document.title = `Explanations: ${page.title}`;
  document.body.classList.toggle("embedded", page.embedded);
  document.body.classList.toggle("single", page.embedded && page.entries.length === 1 && page.notes.length === 0);
  byId("copy-link").hidden = page.embedded;
  byId("notes").hidden = page.notes.length === 0;
  byId("notes").textContent = page.notes.join(". ");
  byId("title").textContent = document.title;
  const known = page.entries.filter((entry) => outcome(entry) !== "unknown");
  const right = known.filter((entry) => outcome(entry) === "right").length;
  byId("counts").textContent = counted(page.entries.length) + (known.length === 0 ? ", no labels"
    // Of a draw with as many right as wrong ones, their number says nothing.
    : page.drawn ? "" : `, ${right} of ${known.length} with a label predicted right`);
  fillOverview();
  byId("overview").open = !window.matchMedia("(max-width: 900px)").matches;
  byId("list").open = !window.matchMedia("(max-width: 600px)").matches;
  fillHeader();
  const classes = new Set(page.entries.flatMap((entry) => [entry.label, entry.prediction]).filter((name) => name !== null));
  byId("by-class").append(...[...classes].sort().map((name) => element("option", { value: name, textContent: name })));
  for (const input of byId("filters").elements) input.addEventListener("input", fillTable);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", () => {
    state.cell = null;
    setTimeout(fillTable); // once the fields are empty
  });
  byId("variant").addEventListener("change", (event) => {
    state.variant = Number(event.target.value);
    showVariant();
  });
  byId("target").addEventListener("change", (event) => chooseTarget(Number(event.target.value)));
  for (const radio of document.querySelectorAll("input[name=sound]")) {
    radio.addEventListener("change", () => hear(state.seconds, !player.paused));
  }
  byId("moment").addEventListener("input", () => hear(momentEdges()[Number(byId("moment").value)], !player.paused));
  byId("closer").addEventListener("click", () => zoom(0.5));
  byId("wider").addEventListener("click", () => zoom(2));
  for (const event of ["play", "seeked"]) player.addEventListener(event, follow);
  for (const button of document.querySelectorAll("[data-save]")) {
    button.addEventListener("click", () => save(button.dataset.save));
  }
  byId("copy-link").addEventListener("click", copyLink);
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault(); // the address names what is shown
    byId("viewer").focus();
  });
  fillCorpus();
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  byId("theme").addEventListener("click", () => {
    const isDark = document.documentElement.dataset.theme !== "dark";
    storage.theme = isDark ? "dark" : "light";
    setTheme(isDark);
  });
  dark.addEventListener("change", () => setTheme(dark.matches));
  setTheme(storage.theme === null ? dark.matches : storage.theme === "dark");
  fillTable();
  for (const event of ["hashchange", "popstate"]) window.addEventListener(event, followLink);
  if (!followLink()) choose(page.entries.findIndex((entry) => entry.part === page.part));
}

start();
