// The table of utterances: filters, order, rows.

const units = [...new Set(page.entries.map((entry) => entry.unit))];
const COLUMNS = [
  { key: "utterance", title: "Utterance", says: "The recording. Choose it to see and hear it." },
  { key: "label", title: "Label", says: "Its true class, – where it is unknown." },
  { key: "prediction", title: "Prediction", says: "What the model predicts; red and bold where the label is another class." },
  { key: "probability", title: "Prob.", says: "Probability that the model gives its prediction." },
  { key: "spark", title: "Over time", says: "Attribution to the first target from the beginning to the end, each row relative " +
    "to its own greatest: orange above the line speaks for the target, blue below against it (grey bars: for a method without " +
    "signs). A grey line stands where nothing is significant. Pale bars: the method gives no errors, so nobody knows which are " +
    "significant." },
  { key: "error", title: "Error", says: "Relative error of the first target's frames: size of their standard errors relative to " +
    "theirs. “sharp” is below 0.2, “fair” below 0.5, “noise” is the rest: draw more points before you read it. “unknown”: the " +
    "method gives no errors. Other targets of the row can be worse: open the line below." },
  { key: "gap", title: units.length === 1 ? `Gap (${units[0]})` : "Gap", says: "Completeness gap of the first target: sum of the " +
    "attributions less what they must come to, ± its standard error. Beyond 4 standard errors and 0.02, part of the output is " +
    "unaccounted for. Sorted by its size in standard errors. –: the method has no such sum." },
  { key: "seconds", title: "Length (s)", says: "Length of the recording in seconds." },
];

function matching() {
  const name = byId("by-name").value.toLowerCase();
  const [wanted, emotion, most] = ["by-outcome", "by-class", "by-error"].map((id) => byId(id).value);
  const numbers = page.entries.map((_, number) => number).filter((number) => {
    const entry = page.entries[number];
    return entry.utterance.toLowerCase().includes(name) && (!wanted || outcome(entry) === wanted) &&
      (!emotion || entry.label === emotion || entry.prediction === emotion) &&
      (most === "" || (entry.error !== null && entry.error <= Number(most))) &&
      (state.cell === null || (outcome(entry) !== "unknown" && entry.label === state.cell.label &&
        [null, entry.prediction].includes(state.cell.prediction)));
  });
  const { key, falling } = state.sort;
  if (key !== null) {
    const keys = new Map(numbers.map((number) => [number, sortKey(page.entries[number], key)]));
    numbers.sort((first, second) => {
      const [a, b] = [keys.get(first), keys.get(second)];
      // Unknown values come last in both directions.
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : inOrder(a, b);
      return falling ? -order : order;
    });
  }
  return numbers;
}

// What a row is sorted by: text, or numbers of which the first ones that differ decide; null where it is unknown.
function sortKey(entry, key) {
  if (key === "prediction") return predicted(entry);
  if (key === "error") return entry.grade === null ? null : [entry.error ?? Infinity];
  if (key === "gap" && entry.gap !== null) {
    const size = Math.abs(entry.gap);
    // Where nothing is drawn, a gap has no error.
    return [size === 0 ? 0 : entry.gap_error ? size / entry.gap_error : Infinity, size];
  }
  return typeof entry[key] === "number" ? [entry[key]] : entry[key];
}

function inOrder(a, b) {
  const place = a.findIndex((number, index) => number !== b[index]);
  return place < 0 ? 0 : a[place] < b[place] ? -1 : 1;
}

function fillTable() {
  const numbers = matching();
  byId("rows").replaceChildren(...numbers.map(tableRow));
  const outcomes = numbers.map((number) => outcome(page.entries[number]));
  const [known, wrong] = [outcomes.filter((each) => each !== "unknown").length, outcomes.filter((each) => each === "wrong").length];
  byId("shown").textContent = `${numbers.length} of ${counted(page.entries.length)}` +
    (state.cell === null ? "" : ` (${cellText(state.cell)})`) +
    (numbers.length === 0 ? "; none matches the filters" : known === 0 ? ", no labels"
      : `, ${wrong} of ${known === numbers.length ? "them" : `${known} with a label`} wrong`);
  for (const header of byId("columns").children) {
    if (header.dataset.key === "spark") continue;
    const { key, falling } = state.sort;
    header.setAttribute("aria-sort", header.dataset.key !== key ? "none" : falling ? "descending" : "ascending");
    header.firstChild.textContent = header.dataset.title + (header.dataset.key !== key ? "" : falling ? " ↓" : " ↑");
  }
  showChosenCell();
}

function fillHeader() {
  byId("columns").append(...COLUMNS.map(({ key, title }) => {
    const sort = element("button", { type: "button", textContent: title, onclick: () => {
      state.sort = { key, falling: state.sort.key === key && !state.sort.falling };
      fillTable();
    } });
    const header = element("th", { scope: "col", className: key }, key === "spark" ? title : sort);
    Object.assign(header.dataset, { key, title });
    return header;
  }));
  byId("legend").append(...COLUMNS.flatMap(({ title, says }) =>
    [element("dt", { textContent: title }), element("dd", { textContent: says })]));
}

function tableRow(number) {
  const entry = page.entries[number];
  const row = element("tr", { className: outcome(entry) }, ...COLUMNS.map(({ key }) => {
    const cell = key === "utterance" ? element("th", { scope: "row" }, opener(number)) : element("td", {}, ...cellOf(entry, key));
    cell.className = key;
    return cell;
  }));
  row.dataset.number = number;
  row.setAttribute("aria-current", String(number === state.utterance));
  return row;
}

function opener(number) {
  const { utterance, part } = page.entries[number];
  return part === page.part
    ? element("button", { type: "button", dir: "auto", textContent: utterance, onclick: () => choose(number, true) })
    : element("a", { dir: "auto", textContent: utterance, href: addressOf(number) });
}

function cellOf(entry, key) {
  switch (key) {
    case "label": return [nameOf(shown(entry.label))];
    case "prediction": return [nameOf(predicted(entry))];
    case "probability": return [entry.probability === null ? "–" : percent(entry.probability)];
    case "spark": return sparkline(entry);
    case "error": return [...errorText(entry.error, entry.grade), ...otherTargets(entry)];
    case "gap": return [gapText(entry) + (units.length > 1 && entry.gap !== null ? ` ${entry.unit}` : "")];
    default: return [shown(entry.seconds, 1)];
  }
}

const badge = (grade) => element("span", { className: `badge ${grade}`, textContent: grade });
const errorText = (error, grade) => (grade === null ? ["unknown"] : [badge(grade), ` ${errorShown(error)}`]);

function gapText({ gap, gap_error: error }) {
  return gap === null ? "–" : signed(gap, 2) + (error === null ? "" : ` ± ${error.toFixed(2)}`);
}

// The other targets of a row, of which the worst is told at once.
function otherTargets(entry) {
  const known = entry.others.filter(([, , grade]) => grade !== null);
  if (entry.others.length === 0 || (entry.grade === null && known.length === 0)) return [];
  const of = ([, error, grade]) => (grade === null ? -1 : error ?? Infinity);
  const [, error, grade] = known.reduce((worst, each) => (of(each) > of(worst) ? each : worst), ["", null, null]);
  const said = [known.length === 0 ? "" : `${counted(known.length, "other")} ≤ ${errorShown(error)}`,
    known.length === entry.others.length ? "" : `${entry.others.length - known.length} unknown`];
  const summary = element("summary", {}, `${said.filter(Boolean).join(", ")} `,
    ...(grade === null || grade === entry.grade ? [] : [badge(grade)]));
  const details = element("details", {}, summary);
  details.addEventListener("toggle", () => {
    if (details.children.length > 1) return;
    const targets = [[entry.target, entry.error, entry.grade, entry.gap, entry.gap_error], ...entry.others];
    details.append(element("ul", {}, ...targets.map(([name, ...own]) => element("li", {}, nameOf(name), " ",
      ...errorText(own[0], own[1]), own[2] === null ? "" : `, gap ${gapText({ gap: own[2], gap_error: own[3] })}`))));
  });
  return [details];
}

// Attribution over time in small, and in words for who does not see it.
function sparkline({ spark, signed: isSigned, grade }) {
  if (spark === null) return ["–"];
  const [width, half, most] = [2, 10, 9];
  const bars = (levels) => levels.map((level, place) =>
    (level === 0 ? "" : `M${place * width + 1} ${half}V${half - level * ((half - 1) / most)}`)).join("");
  const quiet = spark.map((level, place) => (level === 0 ? `M${place * width} ${half}h${width}` : "")).join("");
  const parts = [["for", bars(spark.map((level) => Math.max(0, level)))], ["against", bars(spark.map((level) => Math.min(0, level)))],
    ["quiet", quiet]];
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", `0 0 ${spark.length * width} ${2 * half}`);
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", `${isSigned ? "" : "unsigned"} ${grade === null ? "pale" : ""}`);
  for (const [name, drawn] of parts.filter(([, path]) => path !== "")) {
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("class", name);
    path.setAttribute("d", drawn);
    svg.append(path);
  }
  const some = spark.filter((level) => level !== 0).length;
  const words = !isSigned ? "sizes, which are not tested" : grade === null ? "significance unknown" : some === 0 ? "nothing significant"
    : `something significant in ${some} of ${spark.length} parts of the time`;
  return [svg, element("span", { className: "unseen", textContent: words })];
}
