// The service's models, and the user's choice.

import { ask } from "./api.js";
import { h } from "./dom.js";

const NAMES = { resemblyzer: "Resemblyzer", campplus: "CAM++" };

let [models, chosen] = [[], ""];

/** Returns the id of the chosen model. It is empty if the service chooses. */
export const model = () => chosen;

/** Returns the display name of a model by its id or fingerprint. */
export function modelName(named) {
  const found = models.find(({ id, fingerprint }) => named === id || named === fingerprint);
  return found ? NAMES[found.id] ?? found.id : named;
}

/** Shows a list of models, or the name of the only one. `changed` is called after each choice. */
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
