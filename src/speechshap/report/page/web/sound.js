// What is heard, and the cursor that follows it.

// A stretch that is heard alone: [first, last] in seconds, or null.
state.selection = null;
// The layer that the slider reads, or null for the curve.
state.layer = null;

// Unload the sound, so that it is not played under another picture.
function silence() {
  player.pause();
  if (player.src) URL.revokeObjectURL(player.src);
  player.removeAttribute("src");
  player.load();
  delete player.dataset.key;
  state.pcm = null;
}

async function decode(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const context = new OfflineAudioContext(1, 1, 16000);
  return (await context.decodeAudioData(bytes.buffer)).getChannelData(0);
}

// Outside of a stretch that is heard alone there is silence, so that it ends to the sample.
function withGain(pcm, { level, seconds, gains }, [from, to] = [0, Infinity]) {
  const result = new Int16Array(pcm.length);
  let point = 0;
  const [first, last] = [Math.ceil(from * 16000), Math.min(pcm.length, to * 16000)];
  for (let sample = first; sample < last; sample += 1) {
    const time = sample / 16000;
    while (point < seconds.length - 2 && time > seconds[point + 1]) point += 1;
    const width = seconds[point + 1] - seconds[point];
    const share = width > 0 ? Math.min(1, Math.max(0, (time - seconds[point]) / width)) : 1;
    const gain = gains[point] + share * (gains[point + 1] - gains[point]);
    result[sample] = Math.round(32767 * Math.max(-1, Math.min(1, pcm[sample] * gain * level)));
  }
  return result;
}

function wave(samples) {
  const header = new DataView(new ArrayBuffer(44));
  const text = (offset, letters) => [...letters].forEach((letter, i) => header.setUint8(offset + i, letter.charCodeAt(0)));
  text(0, "RIFF"); text(8, "WAVEfmt "); text(36, "data");
  header.setUint32(4, 36 + samples.byteLength, true);
  [[16, 16], [24, 16000], [28, 32000], [40, samples.byteLength]].forEach(([at, number]) => header.setUint32(at, number, true));
  [[20, 1], [22, 1], [32, 2], [34, 16]].forEach(([at, number]) => header.setUint16(at, number, true));
  return new Blob([header, samples], { type: "audio/wav" });
}

// Hear the chosen sound from a moment on: within the selection if it is in there, else without one.
async function hear(seconds, play = true) {
  state.seconds = seconds;
  if (state.selection !== null && (seconds < state.selection[0] - 0.001 || seconds > state.selection[1])) setSelection(null);
  if (state.pcm === null) {
    await showCursor();
    return;
  }
  const chosen = document.querySelector("input[name=sound]:checked").value;
  const key = [state.utterance, state.variant, state.target, state.selection ?? "whole", chosen].join();
  if (player.dataset.key !== key) {
    if (player.src) URL.revokeObjectURL(player.src);
    player.dataset.key = key;
    const samples = withGain(state.pcm, targetNow().sounds[chosen], state.selection ?? undefined);
    player.src = URL.createObjectURL(wave(samples));
    await new Promise((resolve) => player.addEventListener("loadedmetadata", resolve, { once: true }));
    if (player.dataset.key !== key) return;
  }
  player.currentTime = state.seconds; // of the last call, where several waited for the sound
  if (play) await player.play().catch((reason) => { if (reason.name !== "AbortError") throw reason; });
  follow();
}

// Hear a stretch alone, and have it selected.
function hearStretch(from, to, play = true) {
  setSelection([from, to]);
  return hear(from, play);
}

function setSelection(stretch) {
  state.selection = stretch;
  byId("selected").textContent = stretch === null ? "nothing selected"
    : `${span(...stretch)} selected (${(stretch[1] - stretch[0]).toFixed(2)} s)`;
  for (const id of ["play-selection", "zoom-selection", "clear-selection"]) byId(id).disabled = stretch === null;
  if (picture.listens) placeMarks();
}

// At its end a selection begins again, or stops where it began.
function keepWithin() {
  if (state.selection === null || player.paused || player.currentTime < state.selection[1]) return;
  if (!byId("loop").checked) player.pause();
  [player.currentTime] = state.selection;
}

// Show the current moment on the slider and in the picture.
async function showCursor() {
  setMoment(state.seconds);
  await state.drawn;
  placeMarks();
  await turnPage();
}

// Bounds of what the slider reads: the stretches of the curve, or the frames of the chosen layer.
function momentEdges() {
  return state.layer === null ? targetNow().edges : variantNow().figure.layout.meta.resolutions[0].edges;
}

function setMoment(seconds) {
  const edges = momentEdges();
  let frame = edges.findIndex((edge) => edge > seconds + 1e-6) - 1;
  if (frame < 0) frame = edges.length - 2;
  byId("moment").max = edges.length - 2;
  byId("moment").value = frame;
  const read = state.layer === null ? curveText(frame) : layerText(state.layer, frame);
  const text = `${edges[frame].toFixed(2)} s: ${read}`;
  byId("at").textContent = text;
  byId("moment").setAttribute("aria-valuetext", text);
}

function curveText(frame) {
  const { significant } = targetNow();
  return `${value(frame)} ${variantNow().unit}${significant !== null && !significant[frame] ? ", not significant" : ""}`;
}

// What is not significant is a trace of its own, in which the rest is missing.
function layerText(layer, frame) {
  const { figure, unit } = variantNow();
  const traces = figure.data.filter(({ meta }) => meta?.role === "layers" && meta.target === state.target);
  const trace = traces.find(({ z }) => !Number.isNaN(rowsOf(z)[layer][frame])) ?? traces[0];
  const reach = trace.customdata === undefined ? null : rowsOf(trace.customdata)[layer][frame];
  const doubt = trace.opacity === undefined ? "" : ", not significant";
  return `${figure.layout.meta.layers[layer]} ${amount(rowsOf(trace.z)[layer][frame], reach)} ${unit}${doubt}`;
}

let following = false;
async function follow() {
  if (following) return;
  following = true;
  let last = null;
  try {
    do {
      keepWithin();
      const time = player.currentTime;
      if (time !== last && state.pcm !== null) {
        last = time;
        state.seconds = time;
        await showCursor();
      }
      await new Promise(requestAnimationFrame);
      // A player that stands still may have been moved while the cursor was drawn.
    } while ((!player.paused && !player.ended) || (state.pcm !== null && player.currentTime !== last));
  } finally {
    following = false;
  }
}

player.addEventListener("timeupdate", keepWithin); // pages out of sight draw no frames
player.addEventListener("seeked", () => {
  const [from, to] = state.selection ?? [0, Infinity];
  if (player.currentTime < from - 0.05 || player.currentTime > to + 0.05) hear(player.currentTime, !player.paused);
});
player.addEventListener("ended", () => { if (byId("loop").checked) hear(state.selection?.[0] ?? 0); });
byId("speed").addEventListener("change", (event) => {
  // Each new sound begins at the default speed.
  player.defaultPlaybackRate = player.playbackRate = Number(event.target.value);
});
byId("layer").addEventListener("change", ({ target }) => {
  state.layer = target.value === "" ? null : Number(target.value);
  setMoment(state.seconds);
});
