// The page: its views and its key.

import { ask, useKey, whenKeyIsUsed } from "./api.js";
import { compareView } from "./compare.js";
import { button, h } from "./dom.js";
import { liveView } from "./live.js";
import { showModels } from "./models.js";
import { speakersView } from "./speakers.js";
import { turnsView } from "./turns.js";

/** The views with their functions. A key needs all rights in one of the listed sets. */
const VIEWS = {
  compare: { rights: [["embed", "verify"]], make: compareView },
  speakers: { rights: [["read"], ["enrol"], ["identify"]], make: speakersView },
  turns: { rights: [["embed"], ["identify"]], make: turnsView },
  live: { rights: [["embed"]], make: liveView },
};

const main = document.getElementById("main");
const made = new Map();
const problem = h("p", { class: "message error", role: "alert" });
let key = null;

/** The rights of the key. */
class Rights {
  constructor({ name, rights, collections }) {
    Object.assign(this, { name, rights, collections });
  }

  may(right) {
    return this.rights.includes(right) || this.rights.includes("admin");
  }

  /** The initial collection, if a collection of the key is known by name. */
  get collection() {
    const matches = (pattern) => pattern === "default" || (pattern.endsWith("*") && "default".startsWith(pattern.slice(0, -1)));
    if (this.collections.some(matches)) return "default";
    return this.collections.find((pattern) => !pattern.includes("*")) ?? "";
  }
}

/** Stores the key's rights. Views keep their content, unless the rights change. */
function take(told) {
  const before = key;
  key = new Rights(told);
  document.getElementById("key-button").textContent = `Key: ${key.name}`;
  const allowed = (of) => JSON.stringify([of.rights, of.collections]);
  if (before && allowed(before) !== allowed(key)) {
    for (const view of made.values()) view.forget?.();
    made.clear();
    show();
  }
}

function viewOf(name) {
  const { rights, make } = VIEWS[name];
  if (rights.some((all) => all.every((right) => key.may(right)))) return make(key);
  const needed = rights.map((all) => all.join(" and ")).join(", or ");
  return { element: h("p", {}, `This key lacks a right: it needs ${needed}.`) };
}

/** Shows the view that is named in the address. */
async function show() {
  const named = () => (Object.hasOwn(VIEWS, location.hash.slice(1)) ? location.hash.slice(1) : "compare");
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${named()}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${document.querySelector("nav [aria-current]").textContent} – Voice Embedding Service`;
  try {
    if (!key) {
      take(await ask("GET", "v1/key"));
      await showModels(document.getElementById("models"), () => made.forEach((view) => view.modelChanged?.()));
    }
  } catch (error) {
    main.replaceChildren(h("p", { class: "message error", role: "alert" }, error.message), h("p", {}, button("Try again", show)));
    return;
  }
  const name = named();
  if (!made.has(name)) made.set(name, viewOf(name));
  main.replaceChildren(made.get(name).element);
  made.get(name).shown?.();
}

whenKeyIsUsed(take);
document.getElementById("key-button").addEventListener("click", async () => {
  problem.remove();
  try {
    if (await useKey("Use another key.")) show();
  } catch (error) {
    problem.textContent = error.message;
    main.prepend(problem);
  }
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
// If a file is dropped beside the field, the browser would open it in place of the page.
for (const event of ["dragover", "drop"]) addEventListener(event, (dragged) => dragged.preventDefault());
addEventListener("hashchange", show);
show();
