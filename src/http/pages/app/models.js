// The models that the service has, and the one that was chosen.

import { ask } from "./api.js";
import { h } from "./dom.js";

const NAMES = { resemblyzer: "Resemblyzer", campplus: "CAM++" };

let [models, chosen] = [[], ""];

/** The id of the model that was chosen; empty for the service's own choice. */
export const model = () => chosen;

/** What people call a model, by its id or fingerprint. */
export function modelName(named) {
  const found = models.find(({ id, fingerprint }) => named === id || named === fingerprint);
  return found ? NAMES[found.id] ?? found.id : named;
}

/** Fills the place for the choice: a list, or the name of the only model. `changed` is called with each choice. */
export async function showModels(place, changed) {
  ({ data: models } = await ask("GET", "v1/models"));
  if (models.length < 2) {
    place.replaceChildren(`Model: ${models.map(({ id }) => modelName(id)).join()}`);
    return;
  }
  const options = models.map(({ id }) => h("option", { value: id, selected: id === chosen }, modelName(id)));
  const select = h("select", { id: "model" }, h("option", { value: "" }, "automatic"), options);
  select.addEventListener("change", () => {
    chosen = select.value;
    changed();
  });
  place.replaceChildren(h("label", { for: "model" }, "Model"), select);
}
