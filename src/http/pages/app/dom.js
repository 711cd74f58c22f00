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

export function button(text, onclick, properties = {}) {
  return h("button", { type: "button", onclick, ...properties }, text);
}

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

/** A message in a place of its own: what went wrong, or went well. */
export class Message {
  constructor() {
    this.element = h("div", { class: "message", hidden: true });
  }

  show(kind, ...content) {
    this.element.className = `message ${kind}`;
    this.element.replaceChildren(...content);
    this.element.hidden = false;
    announce(this.element.textContent);
  }

  error(error, ...content) {
    this.show("error", h("p", {}, error.message), ...content);
  }

  clear() {
    this.element.hidden = true;
    this.element.replaceChildren();
  }
}

/** Runs what a button began: the button waits, and an error is told. */
export async function busy(control, message, work) {
  control.disabled = true;
  message.clear();
  try {
    return await work();
  } catch (error) {
    message.error(error);
    return undefined;
  } finally {
    control.disabled = false;
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

export async function copy(text, what) {
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

/** A field that takes recordings, and what else is told, by choice or drop, and a button that records. */
export function recordingInput({ label, hint, multiple, more = "", onfiles, record }) {
  const input = h("input", { type: "file", accept: `audio/*,video/*,.opus,.caf,.aiff,.au${more}`, multiple });
  const zone = h("div", { class: "drop" }, field(label, input, hint), record ? button("Record", record) : null);
  const take = (files) => files.length > 0 && onfiles(multiple ? [...files] : [files[0]]);
  input.addEventListener("change", () => {
    take(input.files);
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
    take(event.dataTransfer.files);
  });
  return zone;
}
