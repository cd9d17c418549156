// The table of utterances: filters, order, rows.

function matching() {
  const name = byId("by-name").value.toLowerCase();
  const [wanted, emotion, most] = ["by-outcome", "by-class", "by-error"].map((id) => byId(id).value);
  const numbers = page.entries.map((_, number) => number).filter((number) => {
    const entry = page.entries[number];
    return entry.utterance.toLowerCase().includes(name) && (!wanted || outcome(entry) === wanted) &&
      (!emotion || entry.label === emotion || entry.prediction === emotion) &&
      (most === "" || (entry.error !== null && entry.error <= Number(most)));
  });
  const { key, falling } = state.sort;
  if (key !== null) {
    const cell = (number) => page.entries[number][key];
    numbers.sort((first, second) => {
      const [a, b] = [cell(first), cell(second)];
      // Unknown values come last in both directions.
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
      return falling ? -order : order;
    });
  }
  return numbers;
}

function fillTable() {
  const numbers = matching();
  byId("rows").replaceChildren(...numbers.map(tableRow));
  const wrong = numbers.filter((number) => outcome(page.entries[number]) === "wrong").length;
  byId("shown").textContent = `${numbers.length} of ${counted(page.entries.length)}, ${wrong} of them wrong` +
    (numbers.length ? "" : "; none matches the filters");
  for (const header of byId("columns").children) {
    const { key, falling } = state.sort;
    header.setAttribute("aria-sort", header.dataset.key !== key ? "none" : falling ? "descending" : "ascending");
    header.firstChild.textContent = header.dataset.title + (header.dataset.key !== key ? "" : falling ? " ↓" : " ↑");
  }
}

function tableRow(number) {
  const entry = page.entries[number];
  const cells = COLUMNS.map(({ key, digits }) => {
    if (key !== "utterance") {
      const cell = key === "prediction" ? predicted(entry) : entry[key];
      return element("td", { textContent: shown(cell, digits), className: digits ? `${key} number` : key });
    }
    const isHere = entry.part === page.part;
    const link = isHere
      ? element("button", { type: "button", textContent: entry.utterance, onclick: () => choose(number, true) })
      : element("a", { textContent: entry.utterance, href: `${page.files[entry.part]}#${number}` });
    return element("th", { className: key, scope: "row" }, link);
  });
  const row = element("tr", { className: outcome(entry) }, ...cells);
  row.dataset.number = number;
  row.setAttribute("aria-current", String(number === state.utterance));
  return row;
}
