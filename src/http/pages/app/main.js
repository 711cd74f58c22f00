// The page: its views, and the key that it asks with.

import { ask, askForKey } from "./api.js";
import { compareView } from "./compare.js";
import { button, h } from "./dom.js";
import { speakersView } from "./speakers.js";
import { turnsView } from "./turns.js";

/** The views, the right that each needs at least one of, and what makes them. */
const VIEWS = {
  compare: { rights: ["embed"], make: compareView },
  speakers: { rights: ["read", "enrol", "identify"], make: speakersView },
  turns: { rights: ["embed"], make: turnsView },
};

const main = document.getElementById("main");
const made = new Map();
let key = null;

async function whoami() {
  try {
    key = await ask("GET", "v1/key");
    document.getElementById("key-button").textContent = `Key: ${key.name}`;
    return true;
  } catch (error) {
    main.replaceChildren(h("p", { class: "message error" }, error.message), h("p", {}, button("Try again", show)));
    return false;
  }
}

function mayUse({ rights }) {
  return key.rights.includes("admin") || rights.some((right) => key.rights.includes(right));
}

/** Shows the view that the address names; views keep what was done in them. */
async function show() {
  const name = location.hash.slice(1) in VIEWS ? location.hash.slice(1) : "compare";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${document.querySelector("nav [aria-current]").textContent} – Voice Embedding Service`;
  if (!key && !(await whoami())) return;
  const view = VIEWS[name];
  if (!made.has(name)) {
    made.set(name, mayUse(view) ? view.make(key) : h("p", {}, `The key may not do this: it needs the right ${view.rights.join(" or ")}.`));
  }
  main.replaceChildren(made.get(name));
}

document.getElementById("key-button").addEventListener("click", async () => {
  const other = await askForKey("Use another key.");
  if (!other) return;
  key = null;
  made.clear();
  await show();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", show);
show();
