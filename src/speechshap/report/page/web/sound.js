// What is heard, and the cursor that follows it.

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

function withGain(pcm, { level, seconds, gains }) {
  const result = new Int16Array(pcm.length);
  let point = 0;
  for (let sample = 0; sample < pcm.length; sample += 1) {
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

async function hear(seconds, play = true) {
  state.seconds = seconds;
  if (state.pcm === null) {
    await showCursor();
    return;
  }
  const chosen = document.querySelector("input[name=sound]:checked").value;
  const key = [state.utterance, state.variant, state.target, chosen].join();
  if (player.dataset.key !== key) {
    if (player.src) URL.revokeObjectURL(player.src);
    player.dataset.key = key;
    player.src = URL.createObjectURL(wave(withGain(state.pcm, targetNow().sounds[chosen])));
    await new Promise((resolve) => player.addEventListener("loadedmetadata", resolve, { once: true }));
    if (player.dataset.key !== key) return;
  }
  player.currentTime = state.seconds; // of the last call, where several waited for the sound
  if (play) await player.play().catch((reason) => { if (reason.name !== "AbortError") throw reason; });
  follow();
}

// Show the current moment on the slider and in the picture.
async function showCursor() {
  setMoment(state.seconds);
  await state.drawn;
  await Plotly.relayout(picture, { "shapes[0].x0": state.seconds, "shapes[0].x1": state.seconds });
}

function setMoment(seconds) {
  const edges = targetNow().edges;
  let frame = edges.findIndex((edge) => edge > seconds + 1e-6) - 1;
  if (frame < 0) frame = edges.length - 2;
  byId("moment").value = frame;
  showMoment();
}

function showMoment() {
  const variant = variantNow();
  const frame = Number(byId("moment").value);
  const text = `${targetNow().edges[frame].toFixed(2)} s: ${value(frame)} ${variant.unit}`;
  byId("at").textContent = text;
  byId("moment").setAttribute("aria-valuetext", text);
}

let following = false;
async function follow() {
  if (following) return;
  following = true;
  let last = null;
  try {
    do {
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
