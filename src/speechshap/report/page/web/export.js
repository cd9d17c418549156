// What can be taken away: the picture, the numbers, an annotation for Praat.

// On paper 16 cm wide, 300 dots an inch.
const [PRINT_PIXELS, PRINT_SCALE] = [756, 2.5];

function binary(base64, type) {
  return new Blob([Uint8Array.from(atob(base64), (character) => character.charCodeAt(0))], { type });
}

function download(blob, name) {
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

// A name that every system takes for a file's.
function fileName(parts, suffix) {
  const plain = parts.map((part) => part.toWellFormed().replaceAll(/[^\p{L}\p{M}\p{N}.+-]+/gu, "_").slice(0, 80));
  return `${plain.join("_").replace(/^[.\-_]+/, "") || "utterance"}.${suffix}`;
}

// Runs with the colours of the light theme, which are those for paper.
function inLight(make) {
  const { dataset } = document.documentElement;
  const { theme } = dataset;
  dataset.theme = "light";
  try {
    return make();
  } finally {
    dataset.theme = theme;
  }
}

// Lines of no more than so many letters; a word that is longer is cut in two.
function brokenLines(text, letters) {
  return text.match(new RegExp(`\\S.{0,${letters - 1}}(?=\\s|$)|\\S{1,${letters}}`, "gu")) ?? [];
}

function printedFigure() {
  const [entry, variant, target] = [page.entries[state.utterance], variantNow(), targetNow()];
  const { data, layout } = inLight(() => pictureFigure(PRINT_PIXELS));
  const facts = [`${entry.utterance}: attribution to ${target.name} (${variant.name}, ${variant.unit})`, byId("facts").textContent,
    ...(target.reservation === null ? [] : [`Reservation: ${target.reservation}`]),
    ...(variant.signed ? [`Orange speaks for ${target.name}, blue against it.`] : [])];
  // Letters beyond those of alphabets are twice as wide.
  const title = facts.flatMap((fact) => brokenLines(fact, /[\u1100-\u1fff\u3000-\u{10ffff}]/u.test(fact) ? 50 : 95));
  const room = 18 * title.length + 8;
  // The room that is made for it lies above all others.
  layout.annotations.push({ text: title.map(escaped).join("<br>"), x: 0, xref: "paper", xanchor: "left", xshift: 8 - layout.margin.l,
    y: 1, yref: "paper", yanchor: "bottom", yshift: layout.margin.t, showarrow: false, align: "left", font: { size: 13 } });
  Object.assign(layout, {
    paper_bgcolor: "#ffffff", plot_bgcolor: "#ffffff", height: layout.height + room, width: PRINT_PIXELS, autosize: false,
    margin: { ...layout.margin, t: layout.margin.t + room },
  });
  return { data, layout };
}

async function savedPicture(format) {
  const figure = printedFigure();
  const { width, height } = figure.layout;
  const address = await Plotly.toImage(figure, { format, width, height, scale: format === "png" ? PRINT_SCALE : 1 });
  return format === "png" ? binary(address.split(",")[1], "image/png")
    : new Blob([decodeURIComponent(address.slice(address.indexOf(",") + 1))], { type: "image/svg+xml" });
}

// The numbers of all targets: those of the curve, which are of frames or of longer stretches, and those of the segments.
function csvText() {
  const rows = [["utterance", "explanation", "target", "unit", "tier", "label", "start_seconds", "end_seconds", "attribution",
    "interval_low", "interval_high", "significant"]];
  const { utterance } = page.entries[state.utterance];
  const { name, unit, targets } = variantNow();
  for (const target of targets) {
    const { edges, values, reach, significant } = target;
    const curve = values.map((size, place) =>
      ["curve", "", edges[place], edges[place + 1], size, reach?.[place] ?? null, significant?.[place] ?? null]);
    for (const [tier, label, first, last, size, margin, isSignificant] of [...curve, ...target.segments]) {
      const interval = size === null || margin === null ? [null, null] : [size - margin, size + margin];
      rows.push([utterance, name, target.name, unit, tier, label, first, last, size, ...interval, isSignificant]);
    }
  }
  const cell = (content) => {
    // Spreadsheets take text that begins like this for a formula, unless an apostrophe is in front of it.
    const guard = typeof content === "string" && /^[=+\-@\t\r]/.test(content) ? "'" : "";
    const text = typeof content === "number" ? String(Number(content.toPrecision(6))) : guard + String(content ?? "");
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

// Annotation of the chosen target in Praat's long text format.
function textGrid() {
  const target = targetNow();
  const all = [page.entries[state.utterance].seconds, target.edges.at(-1), ...target.segments.map((segment) => segment[3])];
  const end = Math.max(...all);
  const number = (size) => (size === null ? "not finite" : `${size < 0 ? "-" : "+"}${Math.abs(size).toPrecision(2)}`);
  const tiers = [["evidence", target.windows.map(([first, last], place) => [first, last, `evidence ${place + 1}`])]];
  if (target.significant !== null) tiers.push(["significant", significantRuns(target).map(([first, last, sum]) => [first, last, number(sum)])]);
  for (const [tier, label, first, last, size, reach, isSignificant] of target.segments) {
    if (!tiers.some(([name, intervals]) => name === tier && intervals.isOfSegments)) {
      tiers.push([tier, Object.assign([], { isOfSegments: true })]);
    }
    const said = `${label} ${number(size)}${reach === null ? "" : ` ± ${reach.toPrecision(2)}`}${isSignificant ? " *" : ""}`;
    tiers.find(([name, intervals]) => name === tier && intervals.isOfSegments)[1].push([first, last, said]);
  }
  const quoted = (text) => `"${text.toWellFormed().replaceAll('"', '""').replaceAll(/\s+/g, " ")}"`;
  const written = tiers.map(([name, intervals], place) => {
    const whole = covered(intervals, end);
    return [`    item [${place + 1}]:`, '        class = "IntervalTier"', `        name = ${quoted(name)}`, "        xmin = 0",
      `        xmax = ${end}`, `        intervals: size = ${whole.length}`, ...whole.flatMap(([first, last, text], index) => [
        `        intervals [${index + 1}]:`, `            xmin = ${first}`, `            xmax = ${last}`,
        `            text = ${quoted(text)}`])];
  });
  return ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", `xmax = ${end}`, "tiers? <exists>",
    `size = ${tiers.length}`, "item []:", ...written.flat(), ""].join("\n");
}

// Significant stretches side by side of one sign, with the sum over them.
function significantRuns({ edges, values, significant }) {
  const runs = [];
  values.forEach((size, place) => {
    if (!significant[place]) return;
    const last = runs.at(-1);
    if (last?.[1] === edges[place] && last[2] > 0 === size > 0) {
      last[1] = edges[place + 1];
      last[2] += size;
    } else runs.push([edges[place], edges[place + 1], size]);
  });
  return runs;
}

// The same intervals without overlap, with empty ones between them from 0 to the end, as a tier must have them.
function covered(intervals, end) {
  const whole = [];
  let reached = 0;
  for (const [from, to, text] of intervals.toSorted((a, b) => a[0] - b[0])) {
    const [first, last] = [Math.max(from, reached), Math.min(to, end)];
    if (last <= first) continue;
    if (first > reached) whole.push([reached, first, ""]);
    whole.push([first, last, text]);
    reached = last;
  }
  if (reached < end) whole.push([reached, end, ""]);
  return whole;
}

async function save(format) {
  const [{ utterance }, variant, target] = [page.entries[state.utterance], variantNow(), targetNow()];
  const text = { csv: csvText, TextGrid: textGrid }[format];
  const blob = text ? new Blob([text()], { type: "text/plain;charset=utf-8" }) : await savedPicture(format);
  const name = fileName([utterance, ...(format === "csv" ? [] : [target.name]), variant.name], format);
  download(blob, name);
  byId("told").textContent = `Saved as ${name}`;
}
