// The service, asked with the key that the tab keeps.

import { button, dialog, field, h } from "./dom.js";

const KEY = "voice-embedding-key";

/** What a header can hold. */
const KEY_CHARACTERS = /^[\x21-\x7e]+$/;

export class ApiError extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** The well-known key, where the service takes it: on this machine alone. */
const defaultKey = () => document.querySelector("meta[name='default-key']").content || null;

/** Called with what the service tells of a key once it is used. */
let onKey = () => {};

export function whenKeyIsUsed(listener) {
  onKey = listener;
}

function askForKey(reason) {
  return dialog("API key", (close) => {
    const input = h("input", { type: "password", autocomplete: "off", autofocus: true, required: true });
    const form = h("form", { method: "dialog" },
      field("Key", input, `${reason} The key is kept in this tab until it is closed.`),
      h("p", { class: "actions" }, button("Cancel", () => close(null)), h("button", { type: "submit" }, "Use key")));
    form.addEventListener("submit", () => close(input.value.trim()));
    return form;
  });
}

let asking = null;

/** Asks for a key until one is right, once for all who wait for it; keeps it, and resolves to whether there is one. */
export function useKey(reason) {
  asking ??= (async () => {
    for (let told = reason; ;) {
      const key = await askForKey(told);
      if (!key) return false;
      if (!KEY_CHARACTERS.test(key)) {
        told = "A key is made of letters, digits and signs of ASCII.";
        continue;
      }
      const response = await send("GET", "v1/key", null, key);
      if (response.ok) {
        sessionStorage.setItem(KEY, key);
        onKey(await response.json());
        return true;
      }
      told = await detail(response);
    }
  })().finally(() => {
    asking = null;
  });
  return asking;
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
  let reason = "Enter an API key: the value of API_KEY where the service was started, or one of its KEYS_FILE.";
  for (;;) {
    const key = sessionStorage.getItem(KEY) ?? defaultKey();
    const response = key && (await send(method, url, body, key));
    if (response && response.status !== 401) return answer(response, as);
    if (response) {
      reason = await detail(response);
      // Another request may have led to a new key meanwhile.
      if ((sessionStorage.getItem(KEY) ?? defaultKey()) === key) sessionStorage.removeItem(KEY);
      else continue;
    }
    if (!(await useKey(reason))) throw new ApiError("Without a key, this page can show nothing. It is the value of API_KEY where the service was started.", "no_key", 401);
  }
}

/** Opens a live session: its socket, once the service has accepted it. */
export async function openSession(options) {
  // A handshake that is refused tells a page nothing, so the key is checked before.
  await ask("GET", "v1/key");
  const parameters = Object.entries(options).filter(([, value]) => value !== "" && value !== null);
  const url = new URL(`v1/live?${new URLSearchParams(parameters)}`, document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  // What a header can hold is in one byte a character.
  const key = btoa(sessionStorage.getItem(KEY) ?? defaultKey()).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const socket = new WebSocket(url, ["voice-live.v1", `key.${key}`]);
  socket.binaryType = "arraybuffer";
  await new Promise((resolve, reject) => {
    socket.addEventListener("open", resolve, { once: true });
    const refused = "The session was refused: the service may be at capacity, or the key may lack a right.";
    socket.addEventListener("error", () => reject(new ApiError(refused, "refused", 0)), { once: true });
  });
  return socket;
}

async function answer(response, as) {
  if (response.ok) return response.status === 204 ? null : response[as]();
  const { code } = await response.clone().json().catch(() => ({}));
  throw new ApiError(await detail(response), code ?? "unknown", response.status);
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
  const { detail: said } = await response.clone().json().catch(() => ({}));
  // A request has one recording, so its place says nothing.
  if (typeof said === "string") return said.replace(/^(input|voices)\[0\]: /, "");
  if (Array.isArray(said)) return said.map(({ loc, msg }) => `${loc.slice(1).join(".")}: ${msg}`).join("; ");
  // Not the service: a proxy in front of it, most likely.
  if (response.status === 413) return "The recording is larger than the service takes.";
  return `The answer has the status ${response.status}.`;
}
