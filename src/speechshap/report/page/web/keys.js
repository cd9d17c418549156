// Keys, and the stretch that is selected by dragging.

const isPressed = (id) => byId(id).getAttribute("aria-pressed") === "true";

// Whether a key belongs to the control that has the focus.
function isTaken(event) {
  if (event.ctrlKey || event.altKey || event.metaKey || event.defaultPrevented) return true;
  const control = event.target.closest?.("input, select, textarea, button, a, summary, audio");
  if (!control || control.matches("[type=range]")) return false;
  const isTyped = control.matches("textarea, select, input:not([type=radio], [type=checkbox])");
  return isTyped || event.key === " " || event.key === "Enter";
}

// The next clip in the table's present order, or the one before.
function nextClip(step) {
  const numbers = matching();
  const place = numbers.indexOf(state.utterance);
  const number = numbers[place < 0 ? 0 : place + step];
  if (number !== undefined) openUtterance(number, false);
}

function playOrPause() {
  if (!player.paused) player.pause();
  else hear(player.ended ? 0 : state.seconds);
}

function selectFrom(side) {
  const end = targetNow().edges.at(-1);
  const [from, to] = state.selection ?? [0, end];
  const chosen = side === 0 ? [state.seconds, Math.max(to, state.seconds)] : [Math.min(from, state.seconds), state.seconds];
  if (chosen[1] > chosen[0]) setSelection(chosen);
}

const KEYS = {
  " ": playOrPause,
  j: () => nextClip(1),
  k: () => nextClip(-1),
  l: () => byId("loop").click(),
  "[": () => selectFrom(0),
  "]": () => selectFrom(1),
  "+": () => zoom(0.5),
  "-": () => zoom(2),
  Escape: () => setSelection(null),
};

document.addEventListener("keydown", (event) => {
  const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (act === undefined || state.payload === null || isTaken(event)) return;
  event.preventDefault();
  act();
});

// Dragging selects where it is asked to; the picture, which zooms by itself, does not see it then.
const drags = (event) => (isPressed("selects") || event.shiftKey) && event.target.closest(".nsewdrag") !== null;

for (const name of ["mousedown", "touchstart"]) {
  picture.addEventListener(name, (event) => { if (drags(event)) event.stopPropagation(); }, { capture: true, passive: true });
}

picture.addEventListener("pointerdown", (event) => {
  if (!drags(event) || event.button !== 0) return;
  const box = event.target.getBoundingClientRect();
  const within = (x) => secondsAt(Math.min(box.right, Math.max(box.left, x)));
  const from = within(event.clientX);
  const moved = ({ clientX }) => {
    const to = within(clientX);
    if (Math.abs(clientX - event.clientX) > 3) setSelection([Math.min(from, to), Math.max(from, to)]);
  };
  const released = ({ clientX }) => {
    window.removeEventListener("pointermove", moved);
    if (Math.abs(clientX - event.clientX) > 3) hear(state.selection[0], false);
    // As in Praat, a click with Shift selects up to it.
    else if (event.shiftKey && from !== state.seconds) {
      hearStretch(Math.min(from, state.seconds), Math.max(from, state.seconds), false);
    } else {
      setSelection(null);
      hear(from);
    }
  };
  window.addEventListener("pointermove", moved);
  window.addEventListener("pointerup", released, { once: true });
}, { capture: true });

byId("selects").addEventListener("click", () => {
  byId("selects").setAttribute("aria-pressed", String(!isPressed("selects")));
  byId("stage").classList.toggle("selects", isPressed("selects"));
});
byId("play-selection").addEventListener("click", () => hearStretch(...state.selection));
byId("zoom-selection").addEventListener("click", () => {
  const [from, to] = state.selection;
  zoomTo(from, to - from);
});
byId("clear-selection").addEventListener("click", () => setSelection(null));
