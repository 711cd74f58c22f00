// The service, asked with the key that the tab keeps.

import { button, dialog, field, h } from "./dom.js";

const KEY = "voice-embedding-key";

export class ApiError extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

let asking = null;

/** Asks for a key, once for all who wait for it. Null if it is not given. */
export function askForKey(reason) {
  asking ??= dialog("API key", (close) => {
    const input = h("input", { type: "password", autocomplete: "off", autofocus: true, required: true });
    const form = h("form", { method: "dialog" },
      h("p", {}, reason),
      field("Key", input, "It is kept in this tab until that is closed."),
      h("p", { class: "actions" }, button("Cancel", () => close(null)), h("button", { type: "submit" }, "Use key")));
    form.addEventListener("submit", () => close(input.value.trim()));
    return form;
  }).then((key) => {
    asking = null;
    if (key) sessionStorage.setItem(KEY, key);
    return key;
  });
  return asking;
}

export function forgetKey() {
  sessionStorage.removeItem(KEY);
}

/** A form of parts; an option that is null, undefined or empty is left out, and one that is no text is JSON. */
export function form(parts) {
  const data = new FormData();
  for (const [name, value] of Object.entries(parts)) {
    if (value === null || value === undefined || value === "") continue;
    if (value instanceof File) data.append(name, value, value.name);
    else data.append(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  return data;
}

/** Asks the service: the JSON of its answer, or with `as` its text or its blob. */
export async function ask(method, path, { body, query, as = "json" } = {}) {
  const parameters = Object.entries(query ?? {}).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const url = parameters.length > 0 ? `${path}?${new URLSearchParams(parameters)}` : path;
  for (;;) {
    const key = sessionStorage.getItem(KEY) ?? (await askForKey("The service asks for its key."));
    if (!key) throw new ApiError("The service needs a key.", "no_key", 401);
    const response = await send(method, url, body, key);
    if (response.status === 401) {
      forgetKey();
      if (await askForKey(await detail(response))) continue;
    }
    if (!response.ok) {
      const told = await response.clone().json().catch(() => ({}));
      throw new ApiError(await detail(response), told.code ?? "unknown", response.status);
    }
    return response.status === 204 ? null : response[as]();
  }
}

async function send(method, url, body, key) {
  const headers = { "X-API-Key": key };
  const isForm = body instanceof FormData;
  if (body && !isForm) headers["Content-Type"] = "application/json";
  try {
    return await fetch(url, { method, headers, body: isForm || !body ? body : JSON.stringify(body) });
  } catch {
    throw new ApiError("The service does not answer. Is it running?", "no_answer", 0);
  }
}

/** What an error says to people. */
async function detail(response) {
  const told = await response.clone().json().catch(() => null);
  if (response.status === 413 && !told) return "The recording is larger than the service takes.";
  if (!told) return `The service answers with status ${response.status}.`;
  const { detail: said } = told;
  return typeof said === "string" ? said : said.map(({ loc, msg }) => `${loc.slice(1).join(".")}: ${msg}`).join("; ");
}
