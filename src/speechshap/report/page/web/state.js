// What the page holds, and what is chosen in it.

const page = JSON.parse(document.getElementById("page").textContent);
const byId = (id) => document.getElementById(id);
const player = byId("player");
const picture = byId("picture");
const state = {
  sort: { key: null, falling: false }, cell: null, utterance: null, payload: null, variant: 0, target: 0, seconds: 0,
  pcm: null,
};

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
// A name of the user's, in whichever direction it is written.
const nameOf = (text) => element("span", { dir: "auto", textContent: text });
const shown = (cell, digits) => (cell === null ? "–" : digits === undefined ? cell : cell.toFixed(digits));
const counted = (count, things = "utterance") => `${count} ${things}${count === 1 ? "" : "s"}`;
// With a true minus; what rounds to 0 has no sign.
const fixed = (number, digits) => (Number(number.toFixed(digits)) < 0 ? "−" : "") + Math.abs(number).toFixed(digits);
const signed = (number, digits) => (Number(number.toFixed(digits)) > 0 ? "+" : "") + fixed(number, digits);
// A regression predicts no class.
const predicted = (entry) => entry.prediction ?? entry.outputs;
const outcome = (entry) =>
  (entry.label === null || entry.prediction === null ? "unknown" : entry.label === entry.prediction ? "right" : "wrong");

// A probability as people read it, which is not 100 % unless it is 1.
function percent(probability) {
  const rounded = Math.round(100 * probability);
  if (rounded === 100 && probability < 1) return ">99 %";
  return rounded === 0 && probability > 0 ? "<1 %" : `${rounded} %`;
}
