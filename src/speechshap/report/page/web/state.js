// What the page holds, and what is chosen in it.

const page = JSON.parse(document.getElementById("page").textContent);
const byId = (id) => document.getElementById(id);
const player = byId("player");
const picture = byId("picture");
const COLUMNS = [
  { key: "utterance", title: "Utterance" },
  { key: "label", title: "Label" },
  { key: "prediction", title: "Prediction" },
  { key: "probability", title: "Prob.", says: "Probability of the prediction", digits: 2 },
  { key: "error", title: "Error", says: "Relative error of the frames", digits: 2 },
  { key: "gap", title: "Gap", says: "Completeness gap", digits: 2 },
  { key: "seconds", title: "Length", says: "Length in seconds", digits: 1 },
];
const state = {
  sort: { key: null, falling: false }, utterance: null, payload: null, variant: 0, target: 0, seconds: 0, pcm: null,
};

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const shown = (cell, digits) => (cell === null ? "–" : digits === undefined ? cell : cell.toFixed(digits));
const counted = (count) => (count === 1 ? "1 utterance" : `${count} utterances`);
// A regression predicts no class.
const predicted = (entry) => entry.prediction ?? entry.outputs;
const outcome = (entry) =>
  (entry.label === null || entry.prediction === null ? "unknown" : entry.label === entry.prediction ? "right" : "wrong");
