// Addresses that name an utterance and a target, in this file or another one of the report.

// The name of a file need not be Unicode.
const wellFormed = (text) => encodeURIComponent(text.toWellFormed());

function hashOf(number, target) {
  const hash = `#utterance=${wellFormed(page.entries[number].utterance)}`;
  return target === undefined ? hash : `${hash}&target=${wellFormed(target)}`;
}

function asked() {
  const hash = location.hash.slice(1);
  // Earlier reports had the number.
  if (/^\d+$/.test(hash)) return { number: Number(hash), target: null };
  const parts = new URLSearchParams(hash);
  const name = parts.get("utterance");
  return { number: name === null ? -1 : numberOf(name), target: parts.get("target") };
}

const numberOf = (name) => page.entries.findIndex((entry) => entry.utterance.toWellFormed() === name.toWellFormed());

const addressOf = (number) => `${page.files[page.entries[number].part]}${hashOf(number)}`;

function openUtterance(number, focus = true) {
  if (page.entries[number].part === page.part) choose(number, focus);
  else location.assign(addressOf(number));
}

// Shows what the address asks for; false where it asks for nothing that there is.
function followLink() {
  const { number, target } = asked();
  const entry = page.entries[number];
  if (entry === undefined) return false;
  if (entry.part !== page.part) {
    location.replace(`${page.files[entry.part]}${location.hash}`);
  } else if (number !== state.utterance) {
    if (target !== null) state.targetName = target;
    choose(number);
  } else if (target !== null && state.payload !== null) {
    const place = variantNow().targets.findIndex(({ name }) => name === target);
    if (place >= 0 && place !== state.target) chooseTarget(place);
  }
  return true;
}

// The first utterance that a page shows, and another target of the same one, get no entry of their own in the history.
function remember() {
  if (page.embedded) return; // the address is that of the page around it
  const hash = hashOf(state.utterance, targetNow().name);
  if (location.hash === hash) return;
  const isAnother = location.hash !== "" && asked().number !== state.utterance;
  history[isAnother ? "pushState" : "replaceState"](null, "", hash);
}

async function copyLink() {
  const told = byId("told");
  try {
    await navigator.clipboard.writeText(location.href);
    told.textContent = "Copied";
  } catch { // a browser may refuse, for a file above all
    const field = element("input", { value: location.href, readOnly: true, ariaLabel: "Link to what is shown" });
    told.replaceChildren(field);
    field.select();
  }
}
