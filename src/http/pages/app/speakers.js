// Speakers: who is enrolled, and whose voice something is.

import { ask, form } from "./api.js";
import { busy, button, confirmed, dialog, download, field, h, Message, recordingInput } from "./dom.js";
import { record } from "./recorder.js";
import * as words from "./words.js";

const PAGE = 50;

/** Errors that the operator may overrule. */
const MAY_BE_FORCED = ["too_little_speech", "unfit_recording", "not_this_speaker"];

const REASONS = {
  below_threshold: "Nobody who is enrolled: nobody is similar enough.",
  ambiguous: "It cannot be told: two speakers are too much alike.",
  empty_collection: "Nobody is enrolled in this collection.",
  no_profile_of_model: "Nobody is enrolled with this model.",
};

/** The view for a key with these rights. */
export function speakersView(key) {
  const view = new Speakers(key);
  view.load();
  return view.element;
}

class Speakers {
  constructor(key) {
    this.may = (right) => key.rights.includes(right) || key.rights.includes("admin");
    this.message = new Message();
    this.collection = h("input", { value: "default", pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}", list: "collections" });
    this.search = h("input", { type: "search" });
    this.collections = h("datalist", { id: "collections" });
    this.list = h("ul", { class: "speakers" });
    this.more = button("More", () => this.page(), { hidden: true });
    this.detail = h("div", { class: "detail" });
    const reload = () => this.load();
    this.collection.addEventListener("change", reload);
    this.search.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(reload, 200);
    });
    this.element = h("section", { "aria-labelledby": "speakers-title" },
      h("h2", { id: "speakers-title" }, "Speakers"),
      h("div", { class: "row" },
        field("Collection", this.collection), this.collections,
        this.may("read") ? field("Search by name", this.search) : null),
      this.message.element,
      this.may("identify") ? this.identification() : null,
      this.may("enrol") ? this.creation() : null,
      this.may("read")
        ? h("section", { "aria-labelledby": "enrolled-title" },
            h("h3", { id: "enrolled-title" }, "Enrolled"),
            h("div", { class: "columns" }, h("div", {}, this.list, this.more), this.detail),
            this.may("admin") ? h("p", { class: "actions" }, button("Export this collection", ({ target }) => this.export(target))) : null)
        : h("p", { class: "quiet" }, "This key may not list speakers."));
  }

  get in() {
    return { collection: this.collection.value.trim() || "default" };
  }

  /** Anew from the first page. */
  async load() {
    if (!this.may("read")) return;
    this.after = null;
    this.list.replaceChildren();
    await this.page();
    const { collections } = await ask("GET", "v1/collections").catch(() => ({ collections: [] }));
    this.collections.replaceChildren(...collections.map(({ collection }) => h("option", { value: collection })));
  }

  async page() {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    await busy(this.more, this.message, async () => {
      const query = { ...this.in, limit: PAGE, after: this.after, name: this.search.value.trim() };
      const { speakers, next } = await ask("GET", "v1/speakers", { query });
      // A later search has begun.
      if (turn !== this.turn) return;
      this.list.append(...speakers.map((speaker) => h("li", {}, this.entry(speaker))));
      if (!this.list.firstChild) this.list.append(h("li", { class: "quiet" }, "Nobody."));
      this.after = next;
      this.more.hidden = !next;
    });
  }

  entry(speaker) {
    const { name, id, enrolments } = speaker;
    const entry = button("", () => {
      this.list.querySelectorAll("[aria-current]").forEach((other) => other.removeAttribute("aria-current"));
      entry.setAttribute("aria-current", "true");
      this.show(id);
    }, { class: "entry" });
    entry.append(h("strong", {}, name || id), " ", h("span", { class: "quiet" }, words.plural(enrolments, "sample")));
    return entry;
  }

  /** A speaker's details, and what can be done with them. */
  async show(id) {
    await busy(h("button"), this.message, async () => {
      const path = `v1/speakers/${encodeURIComponent(id)}`;
      const [speaker, { enrolments }] = await Promise.all([
        ask("GET", path, { query: this.in }), ask("GET", `${path}/enrolments`, { query: this.in }),
      ]);
      const name = speaker.name || speaker.id;
      const heard = speaker.profiles.map(({ model, seconds }) => `${words.seconds(seconds)} of speech (${model.split("/")[0]})`);
      const message = new Message();
      this.detail.replaceChildren(
        h("h4", { tabindex: "-1" }, name),
        h("p", { class: "quiet" }, `${speaker.id}; ${heard.join(", ") || "no profile yet"}; since ${words.date(speaker.created_at)}`),
        message.element,
        ...(this.may("enrol") ? [this.renaming(speaker, path, message), this.enrolling(speaker, path, message)] : []),
        h("h5", {}, "Samples"),
        h("ul", { class: "samples" }, enrolments.map((sample) => this.sample(speaker, path, sample, message))),
        h("p", { class: "actions" },
          this.may("enrol") ? button("Merge another speaker into this one", ({ target }) => this.merge(speaker, path, target, message)) : null,
          this.may("admin") ? button(`Delete ${name}`, ({ target }) => this.remove(speaker, path, target, message), { class: "danger" }) : null));
      this.detail.querySelector("h4").focus();
    });
  }

  renaming(speaker, path, message) {
    const input = h("input", { value: speaker.name ?? "", maxlength: "200" });
    const save = h("button", { type: "submit" }, "Rename");
    const element = h("form", { class: "row" }, field("Name", input), save);
    element.addEventListener("submit", (event) => {
      event.preventDefault();
      busy(save, message, async () => {
        await ask("PATCH", path, { query: this.in, body: { name: input.value } });
        await this.changed(speaker.id);
      });
    });
    return element;
  }

  enrolling(speaker, path, message) {
    const enrol = (file, force) => busy(h("button"), message, async () => {
      try {
        const body = form({ voice: file, ...this.in, force });
        const { speech_seconds, similarity_to_profile, warnings, similar_speakers } = await ask("POST", `${path}/enrolments`, { body });
        await this.changed(speaker.id);
        this.message.show("good", h("p", {}, [
          `Enrolled: ${words.seconds(speech_seconds)} of speech`,
          similarity_to_profile === null ? "" : `, ${words.similarity(similarity_to_profile)} similar to what was known`,
          ...warnings.map((code) => `; ${words.warning(code)}`), ".",
          ...(similar_speakers ?? []).map(({ name, speaker: other, similarity }) => ` Sounds like ${name || other}, too (${words.similarity(similarity)}).`),
        ].join("")));
      } catch (error) {
        if (!MAY_BE_FORCED.includes(error.code) || force) throw error;
        message.error(error, button("Enrol all the same", () => enrol(file, true)));
      }
    });
    return recordingInput({
      label: `Another sample of ${speaker.name || speaker.id}`,
      onfiles: ([file]) => enrol(file),
      record: async () => {
        const file = await record();
        if (file) await enrol(file);
      },
    });
  }

  sample(speaker, path, sample, message) {
    const { id, speech_seconds, warnings, created_at } = sample;
    const text = [words.date(created_at), speech_seconds ? words.seconds(speech_seconds) : "length unknown", ...warnings.map(words.warning)].join(", ");
    const move = button("Move", async ({ target }) => {
      const to = await this.choose("Whose voice is it?", "Move", speaker.id);
      if (!to) return;
      await busy(target, message, async () => {
        await ask("POST", `${path}/enrolments/${id}/move`, { query: this.in, body: { to } });
        await this.changed(speaker.id);
      });
    }, { "aria-label": `Move the sample of ${text}` });
    const remove = button("Delete", async ({ target }) => {
      if (!(await confirmed("Delete this sample?", text, "Delete"))) return;
      await busy(target, message, async () => {
        await ask("DELETE", `${path}/enrolments/${id}`, { query: this.in });
        await this.changed(speaker.id);
      });
    }, { class: "danger", "aria-label": `Delete the sample of ${text}` });
    return h("li", {}, h("span", {}, text), this.may("enrol") ? move : null, this.may("admin") ? remove : null);
  }

  async merge(speaker, path, target, message) {
    const from = await this.choose(`Who is ${speaker.name || speaker.id}, too?`, "Merge", speaker.id);
    if (!from) return;
    await busy(target, message, async () => {
      await ask("POST", `${path}/merge`, { query: this.in, body: { from } });
      await this.changed(speaker.id);
    });
  }

  async remove(speaker, path, target, message) {
    const text = `${speaker.name || speaker.id} and all ${words.plural(speaker.enrolments, "sample")} are gone for good.`;
    if (!(await confirmed("Delete this speaker?", text, "Delete"))) return;
    await busy(target, message, async () => {
      await ask("DELETE", path, { query: this.in });
      this.detail.replaceChildren();
      await this.load();
      this.message.show("good", h("p", {}, `${speaker.name || speaker.id} is deleted.`));
    });
  }

  /** Asks for another speaker of the collection. */
  async choose(title, action, except) {
    const { speakers } = await ask("GET", "v1/speakers", { query: { ...this.in, limit: 200 } });
    const others = speakers.filter(({ id }) => id !== except);
    return dialog(title, (close) => {
      const select = h("select", {}, others.map(({ id, name }) => h("option", { value: id }, name ? `${name} (${id})` : id)));
      return [
        others.length > 0 ? field("Speaker", select) : h("p", {}, "There is no other speaker."),
        h("p", { class: "actions" },
          button("Cancel", () => close(null)), others.length > 0 ? button(action, () => close(select.value)) : null),
      ];
    });
  }

  async changed(id) {
    await this.load();
    await this.show(id);
  }

  identification() {
    const result = h("div", {});
    const message = new Message();
    const identify = (file) => busy(h("button"), message, async () => {
      result.replaceChildren(h("p", {}, "…"));
      const found = await ask("POST", "v1/identify", { body: form({ file, ...this.in }) }).catch((error) => {
        result.replaceChildren();
        throw error;
      });
      result.replaceChildren(...this.verdict(found));
      message.show("good", h("p", {}, this.sentence(found)));
    });
    return h("details", { open: true },
      h("summary", {}, h("h3", {}, "Whose voice is it?")),
      recordingInput({
        label: "A recording of somebody",
        onfiles: ([file]) => identify(file),
        record: async () => {
          const file = await record();
          if (file) await identify(file);
        },
      }), message.element, result);
  }

  sentence({ speaker, reason, candidates }) {
    if (!speaker) return REASONS[reason] ?? reason;
    return `This is ${candidates[0].name || speaker}.`;
  }

  /** Who comes into question, and how sure that is. */
  verdict(found) {
    const { candidates, threshold, searched, false_identification_rate: rate, false_identification_rate_is_bound: isBound, calibration_note } = found;
    const bar = ({ name, speaker, similarity }) => h("li", {},
      h("span", { class: "name" }, name || speaker),
      h("span", { class: "bar", "aria-hidden": "true" },
        h("span", { class: similarity > threshold ? "fill same" : "fill", style: { width: `${Math.max(0, similarity) * 100}%` } })),
      h("span", {}, words.similarity(similarity)));
    const sure = rate === null
      ? `How sure that is cannot be told: ${calibration_note}`
      : `Of searches among ${searched} for somebody who is not there, ${words.frequency(rate, isBound)} find a voice as similar.`;
    return [
      h("ol", { class: "ranking" }, candidates.map(bar)),
      candidates.length > 0 ? h("p", { class: "quiet" }, `Threshold ${threshold.toFixed(3)}. ${sure}`) : null,
    ].filter(Boolean);
  }

  creation() {
    const name = h("input", { maxlength: "200", required: true, placeholder: " " });
    const id = h("input", { pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}" });
    const message = new Message();
    const create = async (file, force) => {
      if (!name.reportValidity() || !id.reportValidity()) return;
      await busy(h("button"), message, async () => {
        if (!force && (await this.isKnown(file, message, () => create(file, true)))) return;
        try {
          const speaker = await ask("POST", "v1/speakers", { body: form({ file, name: name.value, id: id.value, ...this.in, force }) });
          [name.value, id.value] = ["", ""];
          if (this.may("read")) await this.changed(speaker.id);
          message.show("good", h("p", {}, `${speaker.name} is enrolled.`));
        } catch (error) {
          if (!MAY_BE_FORCED.includes(error.code) || force) throw error;
          message.error(error, button("Enrol all the same", () => create(file, true)));
        }
      });
    };
    return h("details", {},
      h("summary", {}, h("h3", {}, "Enrol somebody")),
      h("div", { class: "row" }, field("Name", name), field("Id", id, "Optional: letters, digits, dots, hyphens.")),
      recordingInput({
        label: "A recording of this speaker alone, best of 10 seconds or more",
        onfiles: ([file]) => create(file),
        record: async () => {
          const file = name.reportValidity() && (await record());
          if (file) await create(file);
        },
      }), message.element);
  }

  /** Whether the voice is an enrolled speaker's, which is told then. */
  async isKnown(file, message, goOn) {
    if (!this.may("identify")) return false;
    const { speaker, candidates } = await ask("POST", "v1/identify", { body: form({ file, ...this.in }) });
    if (!speaker) return false;
    const { name, similarity } = candidates[0];
    message.show("error",
      h("p", {}, `This voice is known as ${name || speaker} (${words.similarity(similarity)}). Another sample belongs to that speaker.`),
      button("Make a new speaker all the same", goOn));
    return true;
  }

  async export(target) {
    await busy(target, this.message, async () => {
      const lines = await ask("GET", "v1/export", { query: this.in, as: "blob" });
      download(`speakers-${this.in.collection}.ndjson`, "application/x-ndjson", lines);
    });
  }
}
