// Elements, dialogs and messages.

/** Creates an element. Properties that start with `on` are listeners. Null or false properties are left out. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, of] of Object.entries(value)) element.style.setProperty(key, of);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Returns the class of a speaker's colour by the speaker's index. There are eight colours. */
export const colour = (place) => `colour-${place % 8}`;

export function button(text, onclick, properties = {}) {
  return h("button", { type: "button", onclick, ...properties }, text);
}

/** The pattern of speaker and collection ids. */
export const IDENTIFIER = "[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}";

let n_ids = 0;

/** Creates a label with its field, which gets an id. */
export function field(label, input, hint) {
  n_ids += 1;
  input.id = `field-${n_ids}`;
  if (hint) input.setAttribute("aria-describedby", `hint-${n_ids}`);
  return h("div", { class: "field" },
    h("label", { for: input.id }, label), input, hint ? h("small", { id: `hint-${n_ids}` }, hint) : null);
}

/** Announces a text to screen readers. */
export function announce(text) {
  document.getElementById("announcements").textContent = text;
}

/** A place for error and success messages. Screen readers announce them, also in dialogs. */
export class Message {
  constructor() {
    this.element = h("div", { class: "message", hidden: true });
  }

  show(kind, ...content) {
    this.element.className = `message ${kind}`;
    this.element.setAttribute("role", kind === "error" ? "alert" : "status");
    this.element.hidden = false;
    this.element.replaceChildren(...content);
  }

  error(error, ...content) {
    this.show("error", h("p", {}, error.message), ...content);
  }

  clear() {
    this.element.hidden = true;
    this.element.replaceChildren();
  }
}

/** Runs work and shows its error, unless a newer run has replaced it. */
export async function attempt(message, work, isLast = () => true) {
  message.clear();
  try {
    await work();
  } catch (error) {
    if (isLast()) message.error(error);
  }
}

/** Creates a button that runs work and shows its error. While the work runs, the button keeps the focus and ignores clicks. */
export function worker(text, message, work, properties = {}) {
  const control = button(text, async () => {
    if (control.getAttribute("aria-disabled")) return;
    control.setAttribute("aria-disabled", "true");
    await attempt(message, work);
    control.removeAttribute("aria-disabled");
  }, properties);
  return control;
}

/** Detects outdated responses: each turn replaces all earlier ones. */
export class Turns {
  constructor() {
    this.last = 0;
  }

  /** Starts a turn, and returns a function that says whether it is still the last one. */
  next() {
    this.last += 1;
    const mine = this.last;
    return () => mine === this.last;
  }
}

/** Shows a dialog and resolves to the value that `build` passes to `close`, or null if the dialog is dismissed. */
export function dialog(title, build) {
  return new Promise((resolve) => {
    let result = null;
    const heading = h("h2", { id: "dialog-title" }, title);
    const element = h("dialog", { "aria-labelledby": "dialog-title" }, heading);
    const close = (value) => {
      result = value;
      element.close();
    };
    element.append(...[build(close, element)].flat());
    element.addEventListener("close", () => {
      element.remove();
      resolve(result);
    });
    document.body.append(element);
    element.showModal();
  });
}

/** Asks for confirmation before an action that cannot be undone. */
export function confirmed(title, text, action) {
  return dialog(title, (close) => [
    h("p", {}, text),
    h("p", { class: "actions" },
      button("Cancel", () => close(false), { autofocus: true }), button(action, () => close(true), { class: "danger" })),
  ]);
}

export function download(name, type, content) {
  const url = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Creates a button that copies a text and confirms it beside the button. */
export function copyButton(label, what, text) {
  const told = h("span", { class: "quiet" });
  const control = button(label, async () => {
    if (!(await copy(text(), what))) return;
    told.textContent = "Copied";
    setTimeout(() => told.replaceChildren(), 2_000);
  });
  return h("span", {}, control, " ", told);
}

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    announce(`${what} copied`);
    return true;
  } catch {
    // The clipboard requires HTTPS. Without it, the dialog shows the text for copying by hand.
    await dialog(what, (close) => [
      field("To copy", h("textarea", { rows: 8, readonly: true }, text)),
      h("p", { class: "actions" }, button("Close", () => close(null))),
    ]);
    return false;
  }
}

/**
 * Creates a field that accepts recordings and the extra file types `more`, by choice or drop, and a button that records.
 * `record` resolves to a file or null.
 */
export function recordingInput({ label, hint, multiple, more = "", onfiles, record }) {
  let isBusy = false;
  const input = h("input", { type: "file", accept: `audio/*,video/*,.opus,.caf,.aiff,.au${more}`, multiple });
  const waits = h("p", { class: "quiet", role: "status" });
  const zone = h("div", { class: "drop" }, field(label, input, hint), button("Record", () => isFree() && take(record().then((file) => [file]))), waits);
  // Recordings are processed one at a time, in order.
  const isFree = () => {
    if (isBusy) waits.textContent = "Wait until the last recording is processed.";
    return !isBusy;
  };
  const take = async (chosen) => {
    isBusy = true;
    zone.setAttribute("aria-busy", "true");
    try {
      const files = [...(await chosen)].filter(Boolean);
      if (files.length > 0) await onfiles(multiple ? files : files.slice(0, 1));
    } finally {
      isBusy = false;
      waits.textContent = "";
      zone.removeAttribute("aria-busy");
    }
  };
  input.addEventListener("change", () => {
    if (isFree()) take([...input.files]);
    input.value = "";
  });
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  zone.addEventListener("dragleave", () => zone.classList.remove("over"));
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    if (isFree()) take([...event.dataTransfer.files]);
  });
  return zone;
}
