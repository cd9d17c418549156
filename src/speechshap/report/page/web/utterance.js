// One utterance: its facts, target, strongest moments, answers of the model, segments and cues.

async function unpack(number) {
  const text = byId(`payload-${number}`).textContent;
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

async function choose(number, focus = false) {
  const entry = page.entries[number];
  state.utterance = number;
  state.seconds = 0;
  silence();
  for (const row of byId("rows").children) {
    row.setAttribute("aria-current", String(Number(row.dataset.number) === number));
  }
  const payload = await unpack(number);
  if (state.utterance !== number) return;
  Object.assign(state, { payload, variant: 0, target: 0 });
  setSelection(null);
  byId("name").textContent = entry.utterance;
  const probability = entry.probability === null ? "" : ` with ${percent(entry.probability)}`;
  const truth = entry.label === null ? ["no label"] : ["labelled ", element("bdi", { textContent: entry.label })];
  byId("facts").replaceChildren("predicted ", element("bdi", { textContent: predicted(entry) }), `${probability}, `, ...truth,
    `, ${shown(entry.seconds, 2)} s`);
  fillSelect(byId("variant"), payload.map((variant) => variant.name), 0);
  byId("variant").parentElement.hidden = payload.length < 2;
  await showVariant();
  if (focus) byId("viewer").focus({ preventScroll: false });
}

function fillSelect(list, names, chosen) {
  list.replaceChildren(...names.map((name, number) => element("option", { value: number, textContent: name, dir: "auto" })));
  list.value = chosen;
  list.disabled = names.length < 2;
}

const variantNow = () => state.payload[state.variant];
const targetNow = () => variantNow().targets[state.target];

// An error without a grade is unknown, one without a number is infinite.
const errorShown = (error) => (error === null ? "∞" : error.toFixed(2));
const titled = ({ name, error, grade }) =>
  `${name} (${grade === null ? "error unknown" : `relative error ${errorShown(error)}, ${grade}`})`;

async function showVariant() {
  const variant = variantNow();
  const same = variant.targets.findIndex((target) => target.name === state.targetName);
  state.target = Math.max(0, same);
  fillSelect(byId("target"), variant.targets.map(titled), state.target);
  showClasses(variant.probabilities);
  const { layers } = variant.figure.layout.meta;
  if (state.layer !== null && state.layer >= layers.length) state.layer = null;
  byId("layer").parentElement.hidden = layers.length === 0;
  byId("layer").replaceChildren(element("option", { value: "", textContent: "the curve" }),
    ...layers.map((name, number) => element("option", { value: number, textContent: name })));
  byId("layer").value = state.layer ?? "";
  const isHeard = variant.sound !== null;
  byId("no-sound").hidden = isHeard;
  byId("playing").hidden = !isHeard;
  draw();
  showTarget();
  silence();
  if (!isHeard) return;
  // A sound that several explanations share is stored with the first of them.
  const text = typeof variant.sound === "number" ? state.payload[variant.sound].sound : variant.sound;
  const pcm = await decode(text);
  if (variant !== variantNow()) return;
  state.pcm = pcm;
  await hear(state.seconds, false);
}

function showTarget() {
  const target = targetNow();
  remember();
  byId("reservation").hidden = target.reservation === null;
  byId("reservation").textContent = target.reservation ?? "";
  // Where even what is drawn is noise, the reservation says so.
  byId("grade").hidden = !["fair", "noise"].includes(target.grade) || target.reservation !== null;
  const advice = target.grade === "fair" ? "sizes are rough" : "single frames say little, and longer stretches are drawn";
  byId("grade").textContent = byId("grade").hidden ? ""
    : `Relative error ${errorShown(target.error)} (${target.grade}): ${advice}. Rely on what is significant.`;
  showKey();
  showStrongest();
  showSounds();
  showSegments(target.segments);
  showCues(target.cues);
  setMoment(state.seconds);
  fillOthers();
}

function showStrongest() {
  const [variant, target] = [variantNow(), targetNow()];
  const list = target.strongest.map((frame) => {
    const text = `${target.edges[frame].toFixed(2)} s: ${value(frame)}`;
    const button = element("button", { type: "button", textContent: text, onclick: () => hear(target.edges[frame]) });
    button.setAttribute("aria-label", `Play from ${text} ${variant.unit}`);
    return element("li", {}, button);
  });
  byId("strongest").replaceChildren(...list);
  const name = () => element("bdi", { textContent: target.name });
  const isNoise = target.significant !== null && !target.significant.includes(true) && target.values.some(Boolean);
  byId("way-out").hidden = !isNoise;
  const heading = variant.signed ? ["Strongest moments for (+) and against (−) ", name()] : ["Strongest moments"];
  if (list.length) heading.push(`, in ${variant.unit}` + (target.reach === null ? "" : ", with their 95 % intervals"));
  const nothing = isNoise ? ["Nothing is significant at this number of draws"] : ["No moment speaks for or against ", name()];
  byId("strongest-heading").replaceChildren(...(list.length ? heading : nothing));
  const where = target.strongest.slice(0, 3).map((frame) => `${target.edges[frame].toFixed(2)} s (${value(frame)})`);
  const sum = where.length ? `; strongest at ${where.join(", ")} ${variant.unit}` : isNoise ? "; nothing is significant" : "";
  byId("said").textContent = `Attribution to ${target.name} over time${sum}. The slider reads every moment.`;
}

// What can be heard, and what the model says to it.
function showSounds() {
  const { name, sounds, answers, significant } = targetNow();
  const isHeard = variantNow().sound !== null;
  const said = answers === null ? {} : {
    original: [answers.whole, []],
    kept: [answers.alone, answers.random_alone],
    removed: [answers.without, answers.random_without],
  };
  const known = Object.values(said).flat(2).filter((each) => each !== null);
  const [least, most] = [Math.min(0, ...known), Math.max(1, ...known)];
  for (const row of byId("sounds").rows) {
    const { sound } = row.dataset;
    const radio = row.querySelector("input");
    radio.disabled = radio.hidden = !isHeard || sounds[sound] === undefined;
    const [answer, draws] = said[sound] ?? [null, []];
    row.hidden = radio.disabled && answer === null;
    const cells = answers === null ? [] : [answerCell([answer], least, most), answerCell(draws, least, most)];
    for (const cell of row.querySelectorAll("td")) cell.remove();
    row.append(...cells); // the radio stays where it is, and keeps the focus
  }
  const chosen = document.querySelector("input[name=sound]:checked");
  if (chosen.disabled) document.querySelector("input[name=sound][value=original]").checked = true;
  byId("hearing").hidden = !isHeard && answers === null;
  byId("hear").textContent = byId("hearing-legend").textContent = isHeard ? "Hear" : "Sound";
  byId("answered").hidden = byId("answer-columns").hidden = answers === null;
  byId("answered").textContent = answers === null ? "" : `What the model says to it: ${answers.what}`;
  byId("no-evidence").hidden = !isHeard || sounds.kept !== undefined;
  const how = significant === null ? "speaks" : "speaks significantly";
  byId("no-evidence").replaceChildren(`Nothing ${how} for `, element("bdi", { textContent: name }), ": no evidence to hear.");
}

// An answer, or the mean of several with the lowest and the highest; empty where there is none.
function answerCell(answers, least, most) {
  const known = answers.filter((each) => each !== null);
  if (known.length === 0) return element("td");
  const mean = known.reduce((sum, each) => sum + each, 0) / known.length;
  const range = answers.length === 1 ? null : [Math.min(...known), Math.max(...known)];
  const words = range === null ? "" : ` (${range.map((each) => fixed(each, 2)).join(" to ")})`;
  return barCell(fixed(mean, 2) + words, mean, least, most, range);
}

// A size as a bar from least to most, with a range, and in words.
function barCell(words, size, least, most, range = null) {
  const share = (number) => `${100 * (number - least) / (most - least)}%`;
  const bar = element("span", { className: "bar" }, element("span", { className: "filled" }));
  bar.firstChild.style.width = share(size);
  if (range !== null) {
    const line = element("span", { className: "range" });
    Object.assign(line.style, { left: share(range[0]), width: `calc(${share(range[1])} - ${share(range[0])})` });
    bar.append(line);
  }
  return element("td", {}, element("span", { className: "measured" }, bar, words));
}

function showClasses(probabilities) {
  byId("classes").hidden = probabilities === null;
  const falling = [...(probabilities ?? [])].sort(([, first], [, second]) => second - first);
  byId("class-rows").replaceChildren(...falling.map(([name, probability]) => element("tr", {},
    element("th", { scope: "row", textContent: name, dir: "auto" }), barCell(percent(probability), probability, 0, 1))));
}

function showSegments(segments) {
  byId("segments").hidden = segments.length === 0;
  byId("segments-heading").textContent = `Segments, in ${variantNow().unit}`;
  byId("segment-rows").replaceChildren(...segments.map(([tier, label, first, last, size, reach, significant]) => {
    const play = element("button", { type: "button", textContent: label, dir: "auto", onclick: () => hearStretch(first, last) });
    play.setAttribute("aria-label", `Play ${label}, ${span(first, last)}`);
    return element("tr", { className: significant === false ? "unsure" : "" },
      element("td", { textContent: tier, dir: "auto" }),
      element("th", { scope: "row", title: span(first, last) }, play),
      element("td", { className: "number", textContent: amount(size, reach) }),
      element("td", { textContent: significant === null ? "unknown" : significant ? "yes" : "no" }));
  }));
}

function showCues(cues) {
  byId("cues").hidden = cues === null;
  if (cues === null) return;
  byId("cue-rule").textContent = cues.rule;
  byId("cue-rows").replaceChildren(...cues.rows.map(([title, unit, description, ...sides]) => element("tr", {},
    element("th", { scope: "row", textContent: `${title} (${unit})`, title: description }),
    ...sides.map((side) => element("td", { className: "number", textContent: shown(side, 2) })))));
}

function value(frame) {
  const target = targetNow();
  return amount(target.values[frame], target.reach === null ? null : target.reach[frame]);
}

function amount(size, reach) {
  if (size === null || Number.isNaN(size)) return "not finite";
  const sign = size > 0 ? "+" : size < 0 ? "−" : "";
  const plain = (number) => {
    const absolute = Math.abs(number);
    if (absolute !== 0 && absolute < 1e-3) return absolute.toExponential(1);
    return absolute < 100 ? absolute.toPrecision(2) : absolute.toFixed(0);
  };
  return reach === null ? `${sign}${plain(size)}` : `${sign}${plain(size)} ± ${plain(reach)}`;
}
