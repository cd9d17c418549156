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
  const truth = entry.label === null ? "no label" : `labelled ${entry.label}`;
  const length = shown(entry.seconds, 2);
  const probability = entry.probability === null ? "" : ` with ${percent(entry.probability)}`;
  byId("facts").textContent = `predicted ${predicted(entry)}${probability}, ${truth}, ${length} s`;
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

const titled = ({ name, error, grade }) =>
  `${name} (${error === null ? "error unknown" : `relative error ${error.toFixed(2)}, ${grade}`})`;

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
  byId("sounds").disabled = !isHeard;
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
    : `Relative error ${target.error.toFixed(2)} (${target.grade}): ${advice}. Rely on what is significant.`;
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

// Which sounds there are, and what the model says to them.
function showSounds() {
  const { name, sounds, answers, significant } = targetNow();
  const isHeard = variantNow().sound !== null;
  for (const radio of document.querySelectorAll("input[name=sound]")) {
    radio.disabled = isHeard && sounds[radio.value] === undefined;
    if (radio.disabled && radio.checked) document.querySelector("input[name=sound][value=original]").checked = true;
  }
  byId("no-evidence").hidden = !isHeard || sounds.kept !== undefined;
  const how = significant === null ? "speaks" : "speaks significantly";
  byId("no-evidence").replaceChildren(`Nothing ${how} for `, element("bdi", { textContent: name }), ": no evidence to hear.");
  byId("answers").hidden = answers === null;
  if (answers === null) return;
  byId("answers-caption").textContent = `What the model says to it: ${answers.what}`;
  const { whole, alone, without, random_alone: randomAlone, random_without: randomWithout } = answers;
  const random = (draws) => {
    const known = draws.filter((each) => each !== null);
    const sum = known.reduce((all, each) => all + each, 0);
    return known.length ? [sum / known.length, Math.min(...known), Math.max(...known)] : [null];
  };
  const rows = [["the sound", whole], ["the evidence alone", alone], ["as much at random, alone", ...random(randomAlone)],
    ["all but the evidence", without], ["all but as much at random", ...random(randomWithout)]]
    .filter((row) => row[1] !== null);
  const least = Math.min(0, ...rows.flatMap((row) => row.slice(1)));
  const most = Math.max(1, ...rows.flatMap((row) => row.slice(1)));
  byId("answer-rows").replaceChildren(...rows.map((row) => barRow(row, least, most)));
}

// A value as a bar from least to most, with the lowest and the highest of several.
function barRow([title, size, lowest, highest], least, most, words = size.toFixed(2)) {
  const share = (number) => `${100 * (number - least) / (most - least)}%`;
  const bar = element("span", { className: "bar" }, element("span", { className: "filled" }));
  bar.firstChild.style.width = share(size);
  if (lowest !== undefined) {
    const range = element("span", { className: "range" });
    Object.assign(range.style, { left: share(lowest), width: `calc(${share(highest)} - ${share(lowest)})` });
    bar.append(range);
  }
  const range = lowest === undefined ? "" : ` (${lowest.toFixed(2)} to ${highest.toFixed(2)})`;
  return element("tr", {}, element("th", { scope: "row", textContent: title, dir: "auto" }),
    element("td", { className: "bars" }, bar), element("td", { className: "number", textContent: words + range }));
}

function showClasses(probabilities) {
  byId("classes").hidden = probabilities === null;
  const falling = [...(probabilities ?? [])].sort(([, first], [, second]) => second - first);
  byId("class-rows").replaceChildren(...falling.map((row) => barRow(row, 0, 1, percent(row[1]))));
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
