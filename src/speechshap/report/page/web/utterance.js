// One utterance: its facts, target, strongest moments, segments and cues.

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

function fillSelect(select, names, chosen) {
  select.replaceChildren(...names.map((name, number) => element("option", { value: number, textContent: name })));
  select.value = chosen;
  select.disabled = names.length < 2;
}

const variantNow = () => state.payload[state.variant];
const targetNow = () => variantNow().targets[state.target];

async function showVariant() {
  const variant = variantNow();
  const same = variant.targets.findIndex((target) => target.name === state.targetName);
  state.target = Math.max(0, same);
  fillSelect(byId("target"), variant.targets.map((target) => target.name), state.target);
  const isHeard = variant.sound !== null;
  byId("no-sound").hidden = isHeard;
  byId("sounds").disabled = !isHeard;
  player.hidden = !isHeard;
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
  const [variant, target] = [variantNow(), targetNow()];
  remember();
  byId("moment").max = target.edges.length - 2;
  byId("reservation").hidden = target.reservation === null;
  byId("reservation").textContent = target.reservation ?? "";
  const list = target.strongest.map((frame) => {
    const text = `${target.edges[frame].toFixed(2)} s: ${value(frame)}`;
    const button = element("button", { type: "button", textContent: text, onclick: () => hear(target.edges[frame]) });
    button.setAttribute("aria-label", `Play from ${text} ${variant.unit}`);
    return element("li", {}, button);
  });
  byId("strongest").replaceChildren(...list);
  const strongest = variant.signed ? `Strongest moments for (+) and against (−) ${target.name}` : "Strongest moments";
  byId("strongest-heading").textContent = list.length
    ? `${strongest}, in ${variant.unit}` +
      (target.reach === null ? "" : ", with their 95 % intervals")
    : `No moment speaks for or against ${target.name}`;
  const where = target.strongest.slice(0, 3).map((frame) => `${target.edges[frame].toFixed(2)} s (${value(frame)})`);
  const sum = where.length ? `; strongest at ${where.join(", ")} ${variant.unit}` : "";
  byId("said").textContent = `Attribution to ${target.name} over time${sum}. The slider reads every moment.`;
  showSegments(target.segments);
  showCues(target.cues);
  setMoment(state.seconds);
}

function showSegments(segments) {
  byId("segments").hidden = segments.length === 0;
  byId("segments-heading").textContent = `Segments, in ${variantNow().unit}`;
  byId("segment-rows").replaceChildren(...segments.map(([tier, label, first, last, size, reach]) => {
    const play = element("button", { type: "button", textContent: label, onclick: () => hear(first) });
    play.setAttribute("aria-label", `Play ${label} from ${first.toFixed(2)} s`);
    return element("tr", { className: reach !== null && Math.abs(size) <= reach ? "unsure" : "" },
      element("td", { textContent: tier }),
      element("th", { scope: "row", title: `${first.toFixed(2)} to ${last.toFixed(2)} s` }, play),
      element("td", { className: "number", textContent: amount(size, reach) }));
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
  if (size === null) return "not finite";
  const sign = size > 0 ? "+" : size < 0 ? "−" : "";
  const plain = (number) => {
    const absolute = Math.abs(number);
    if (absolute !== 0 && absolute < 1e-3) return absolute.toExponential(1);
    return absolute < 100 ? absolute.toPrecision(2) : absolute.toFixed(0);
  };
  return reach === null ? `${sign}${plain(size)}` : `${sign}${plain(size)} ± ${plain(reach)}`;
}
