// Requests to the service, with the key that the tab stores.

import { button, dialog, field, h } from "./dom.js";

const KEY = "voice-embedding-key";

/** The characters that a header may contain. */
const KEY_CHARACTERS = /^[\x21-\x7e]+$/;

export class ApiError extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** The default key, if the service accepts it. It does so only on this machine. */
const defaultKey = () => document.querySelector("meta[name='default-key']").content || null;

/** Receives the service's description of a key when the key is first used. */
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

/**
 * Asks for a key until the service accepts it, and stores it. Concurrent callers share one dialog. Resolves to whether
 * there is a key.
 */
export function useKey(reason) {
  asking ??= (async () => {
    for (let told = reason; ;) {
      const key = await askForKey(told);
      if (!key) return false;
      if (!KEY_CHARACTERS.test(key)) {
        told = "A key consists of ASCII letters, digits and punctuation.";
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

/** Builds a form. Options that are null, undefined or empty are left out, and other values than text are sent as JSON. */
export function form(parts) {
  const data = new FormData();
  for (const [name, value] of Object.entries(parts)) {
    if (value === null || value === undefined || value === "") continue;
    if (value instanceof File) data.append(name, value, value.name);
    else data.append(name, typeof value === "string" ? value : JSON.stringify(value));
  }
  return data;
}

/** Sends a request and resolves to the response's JSON, or to its text or blob with `as`. */
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
      // Another request may have asked for a new key in the meantime.
      if ((sessionStorage.getItem(KEY) ?? defaultKey()) === key) sessionStorage.removeItem(KEY);
      else continue;
    }
    if (!(await useKey(reason))) throw new ApiError("This page needs an API key: the value of API_KEY where the service was started.", "no_key", 401);
  }
}

/** Opens a live session and resolves to its socket when the service has accepted it. */
export async function openSession(options) {
  // A page cannot see why a handshake failed, so it checks the key first.
  await ask("GET", "v1/key");
  const parameters = Object.entries(options).filter(([, value]) => value !== "" && value !== null);
  const url = new URL(`v1/live?${new URLSearchParams(parameters)}`, document.baseURI);
  url.protocol = url.protocol.replace("http", "ws");
  // All characters of a key are ASCII, which `btoa` accepts.
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

/** Returns the text of an error for users. */
async function detail(response) {
  const { detail: said } = await response.clone().json().catch(() => ({}));
  // A request has only one recording, so its index is useless.
  if (typeof said === "string") return said.replace(/^(input|voices)\[0\]: /, "");
  if (Array.isArray(said)) return said.map(({ loc, msg }) => `${loc.slice(1).join(".")}: ${msg}`).join("; ");
  // The response is not from the service, but probably from a proxy in front of it.
  if (response.status === 413) return "The recording is larger than the service accepts.";
  return `The answer has the status ${response.status}.`;
}
