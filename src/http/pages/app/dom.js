// Elements, dialogs and messages.

/** An element. Properties that begin with `on` are listeners; those that are null or false are left out. */
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

/** The class of a speaker's colour, by the speaker's place; there are eight. */
export const colour = (place) => `colour-${place % 8}`;

export function button(text, onclick, properties = {}) {
  return h("button", { type: "button", onclick, ...properties }, text);
}

/** What ids of speakers and collections are made of. */
export const IDENTIFIER = "[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}";

let n_ids = 0;

/** A label with its field, which gets an id. */
export function field(label, input, hint) {
  n_ids += 1;
  input.id = `field-${n_ids}`;
  if (hint) input.setAttribute("aria-describedby", `hint-${n_ids}`);
  return h("div", { class: "field" },
    h("label", { for: input.id }, label), input, hint ? h("small", { id: `hint-${n_ids}` }, hint) : null);
}

/** Tells people who cannot see the page, too. */
export function announce(text) {
  document.getElementById("announcements").textContent = text;
}

/** A message in a place of its own: what went wrong, or went well. Screen readers read it there, in dialogs too. */
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

/** Runs work, and tells its error, unless that comes too late. */
export async function attempt(message, work, isLast = () => true) {
  message.clear();
  try {
    await work();
  } catch (error) {
    if (isLast()) message.error(error);
  }
}

/** A button that runs work, and tells its error; while it runs, the button keeps the focus and does nothing. */
export function worker(text, message, work, properties = {}) {
  const control = button(text, async () => {
    if (control.getAttribute("aria-disabled")) return;
    control.setAttribute("aria-disabled", "true");
    await attempt(message, work);
    control.removeAttribute("aria-disabled");
  }, properties);
  return control;
}

/** Tells answers that come too late: each turn ends those before it. */
export class Turns {
  constructor() {
    this.last = 0;
  }

  /** A function that says whether this turn is the last one still. */
  next() {
    this.last += 1;
    const mine = this.last;
    return () => mine === this.last;
  }
}

/** Shows a dialog, and resolves to what `build` gives to `close`; null if it is dismissed. */
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

/** Asks before something that cannot be undone. */
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

/** A button that copies a text, and says beside it that it has. */
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
    // Without HTTPS there is no clipboard: show the text to be copied by hand.
    await dialog(what, (close) => [
      field("To copy", h("textarea", { rows: 8, readonly: true }, text)),
      h("p", { class: "actions" }, button("Close", () => close(null))),
    ]);
    return false;
  }
}

/** A field that takes recordings, and what else is told, by choice or drop, and a button that records (`record` gives a file or null). */
export function recordingInput({ label, hint, multiple, more = "", onfiles, record }) {
  let isBusy = false;
  const input = h("input", { type: "file", accept: `audio/*,video/*,.opus,.caf,.aiff,.au${more}`, multiple });
  const waits = h("p", { class: "quiet", role: "status" });
  const zone = h("div", { class: "drop" }, field(label, input, hint), button("Record", () => isFree() && take(record().then((file) => [file]))), waits);
  // One after the other: what was sent is answered first.
  const isFree = () => {
    if (isBusy) waits.textContent = "Wait for the answer to the last one.";
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
