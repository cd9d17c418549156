// What the labels and the predictions say together.

const classesOf = (entries, key) =>
  [...new Set(entries.map((entry) => entry[key]))].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));

function fillOverview() {
  const known = page.entries.filter((entry) => outcome(entry) !== "unknown");
  byId("overview").hidden = known.length === 0;
  if (known.length === 0) return;
  const labels = classesOf(known, "label");
  const classes = [...new Set([...labels, ...classesOf(known, "prediction")])];
  const counts = new Map(labels.map((label) => [label, new Map()]));
  for (const { label, prediction } of known) {
    counts.get(label).set(prediction, (counts.get(label).get(prediction) ?? 0) + 1);
  }
  const total = (label) => [...counts.get(label).values()].reduce((sum, count) => sum + count, 0);
  const recall = (label) => (counts.get(label).get(label) ?? 0) / total(label);
  byId("recall").textContent = page.drawn
    ? "The counts are of a draw with as many right as wrong utterances of each class as there are: " +
      "they say nothing about how often the model is right."
    : `Balanced recall (UAR) ${percent(labels.map(recall).reduce((sum, each) => sum + each, 0) / labels.length)}: ` +
      `mean over ${labels.length} ${labels.length === 1 ? "class" : "classes"}, of ${counted(known.length)} with a label.`;
  const heading = (...content) => element("th", { scope: "col" }, ...content);
  byId("confusion-columns").append(heading("Label"), heading("Number"), ...(page.drawn ? [] : [heading("Recall")]),
    ...classes.map((name) => heading(nameOf(name))));
  byId("confusion-rows").append(...labels.map((label) => {
    const row = counts.get(label);
    const filter = (count, prediction) => confusionCell(count, { label, prediction }, total(label));
    return element("tr", {}, element("th", { scope: "row" }, nameOf(label)), filter(total(label), null),
      ...(page.drawn ? [] : [element("td", { textContent: percent(recall(label)) })]),
      ...classes.map((name) => filter(row.get(name) ?? 0, name)));
  }));
}

// A count that shows the utterances it counts; `prediction` is null for all of a label.
function confusionCell(count, cell, total) {
  const made = element("td", { className: cell.label === cell.prediction ? "right" : "" });
  if (count === 0) {
    made.textContent = "0";
    return made;
  }
  const button = element("button", { type: "button", textContent: count, onclick: () => {
    state.cell = isChosen(cell) ? null : cell;
    fillTable();
  } });
  button.cell = cell;
  button.setAttribute("aria-label", `${counted(count)} ${cellText(cell)}`);
  if (cell.prediction !== null) made.style.setProperty("--share", `${Math.round((40 * count) / total)}%`);
  made.append(button);
  return made;
}

const cellText = ({ label, prediction }) =>
  `labelled ${label}${prediction === null ? "" : `, predicted ${prediction}`}`;
const isChosen = ({ label, prediction }) => state.cell?.label === label && state.cell?.prediction === prediction;

function showChosenCell() {
  for (const button of document.querySelectorAll("#confusion button")) {
    button.setAttribute("aria-pressed", String(isChosen(button.cell)));
  }
}
