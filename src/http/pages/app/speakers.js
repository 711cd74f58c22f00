// Speakers: who is enrolled, and whose voice something is.

import { ask, form } from "./api.js";
import { attempt, button, confirmed, dialog, download, field, h, IDENTIFIER, Message, recordingInput, Turns, worker } from "./dom.js";
import { model, modelName } from "./models.js";
import { record } from "./recorder.js";
import * as words from "./words.js";

const PAGE = 50;

/** Speakers among whom one is chosen. */
const MAX_CHOICES = 2_000;

/** Errors that the operator may overrule. */
const MAY_BE_FORCED = ["too_little_speech", "unfit_recording", "not_this_speaker"];

/** Ids that the service has made: they tell people nothing. */
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const REASONS = {
  below_threshold: "Nobody who is enrolled: nobody is similar enough.",
  ambiguous: "Undecided: two speakers are too much alike.",
  no_profile_of_model: "Nobody is enrolled with this model.",
};

/** The view for a key. It is loaded anew whenever it is shown. */
export function speakersView(key) {
  const view = new Speakers(key);
  return { element: view.element, shown: () => view.load() };
}

class Speakers {
  constructor(key) {
    this.may = (right) => key.may(right);
    this.message = new Message();
    this.collection = h("input", { value: key.collection, required: true, pattern: IDENTIFIER, list: "collections", placeholder: " " });
    this.search = h("input", { type: "search" });
    this.collections = h("datalist", { id: "collections" });
    this.list = h("ul", { class: "speakers" });
    this.more = worker("More", this.message, () => this.page(this.loads.next()), { hidden: true });
    this.detail = h("div", { class: "detail" });
    this.loads = new Turns();
    this.shows = new Turns();
    this.current = null;
    this.loaded = [];
    this.forgetIdentified = () => {};
    this.collection.addEventListener("change", () => {
      this.close();
      this.load();
    });
    this.search.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.load(), 200);
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
            this.may("admin") ? h("p", { class: "actions" }, worker("Export this collection", this.message, () => this.export())) : null)
        : h("p", { class: "quiet" }, "This key may not list speakers."));
  }

  /** The collection as it is now; what is begun with it stays in it. */
  get in() {
    return { collection: this.collection.value.trim() };
  }

  /** The list, anew from the first page. */
  async load() {
    if (!this.may("read")) return;
    const isLast = this.loads.next();
    if (!this.collection.checkValidity()) {
      this.list.replaceChildren();
      return;
    }
    this.more.hidden = true;
    await attempt(this.message, async () => {
      await this.page(isLast, true);
      const { collections } = await ask("GET", "v1/collections");
      this.collections.replaceChildren(...collections.map(({ collection }) => h("option", { value: collection })));
    }, isLast);
  }

  async page(isLast, isFirst) {
    const query = { ...this.in, limit: PAGE, after: isFirst ? null : this.after, name: this.search.value.trim() };
    const { speakers, next } = await ask("GET", "v1/speakers", { query });
    if (!isLast()) return;
    // The service pages by id.
    const shown = [...(isFirst ? [] : this.loaded), ...speakers].sort(byName);
    this.loaded = shown;
    this.list.replaceChildren(...shown.map((speaker) => h("li", {}, this.entry(speaker))));
    if (!this.list.firstChild) this.list.append(h("li", { class: "quiet" }, "Nobody."));
    this.after = next;
    this.more.hidden = !next;
  }

  /** Closes the details. */
  close() {
    this.shows.next();
    this.current = null;
    this.detail.replaceChildren();
  }

  entry({ name, id, enrolments }) {
    const inside = this.in;
    const entry = button("", () => this.show(id, inside), { class: "entry", "data-id": id, "aria-current": id === this.current ? "true" : null });
    entry.append(h("strong", {}, name || id), " ", h("span", { class: "quiet" }, words.plural(enrolments, "sample")));
    return entry;
  }

  /** A speaker's details, and what can be done with them. */
  async show(id, inside) {
    const isLast = this.shows.next();
    await attempt(this.message, async () => {
      const path = `v1/speakers/${encodeURIComponent(id)}`;
      const [speaker, { enrolments }] = await Promise.all([
        ask("GET", path, { query: inside }), ask("GET", `${path}/enrolments`, { query: inside }),
      ]);
      if (!isLast()) return;
      this.current = id;
      for (const entry of this.list.querySelectorAll(".entry")) {
        if (entry.dataset.id === id) entry.setAttribute("aria-current", "true");
        else entry.removeAttribute("aria-current");
      }
      const name = speaker.name || speaker.id;
      const heard = speaker.profiles.map(({ model: of, seconds }) => `${words.seconds(seconds)} of speech (${modelName(of)})`);
      const one = { speaker, name, path, inside, message: new Message() };
      this.detail.replaceChildren(
        h("h4", { tabindex: "-1" }, name),
        h("p", { class: "quiet" }, `${UUID.test(speaker.id) ? "" : `${speaker.id}; `}${heard.join(", ") || "no profile yet"}; since ${words.date(speaker.created_at)}`),
        one.message.element,
        ...(this.may("enrol") ? [this.renaming(one), this.enrolling(one)] : []),
        h("h5", {}, "Samples"),
        h("ul", { class: "samples" }, enrolments.map((sample) => this.sample(one, sample))),
        h("p", { class: "actions" },
          this.may("enrol") ? worker("Merge another speaker into this one", one.message, () => this.merge(one)) : null,
          this.may("admin") ? worker(`Delete ${name}`, one.message, () => this.remove(one), { class: "danger" }) : null));
      this.detail.querySelector("h4").focus();
    }, isLast);
  }

  renaming({ speaker, path, inside, message }) {
    const input = h("input", { value: speaker.name ?? "", maxlength: "200" });
    const element = h("form", { class: "row" }, field("Name", input), h("button", { type: "submit" }, "Rename"));
    element.addEventListener("submit", (event) => {
      event.preventDefault();
      attempt(message, async () => {
        await ask("PATCH", path, { query: inside, body: { name: input.value.trim() } });
        await this.changed(speaker.id, inside);
      });
    });
    return element;
  }

  enrolling({ speaker, name, path, inside, message }) {
    const enrol = (file, force) => attempt(message, async () => {
      try {
        const body = form({ voice: file, ...inside, model: model(), force });
        const enrolled = await ask("POST", `${path}/enrolments`, { body });
        await this.changed(speaker.id, inside);
        this.message.show("good", h("p", {}, sampleInWords(enrolled)));
      } catch (error) {
        if (!MAY_BE_FORCED.includes(error.code) || force) throw error;
        message.error(error, button("Enrol all the same", () => enrol(file, true)));
      }
    });
    return recordingInput({ label: `Another sample of ${name}`, onfiles: ([file]) => enrol(file), record });
  }

  sample({ speaker, path, inside, message }, { id, speech_seconds, warnings, created_at }) {
    const text = [words.date(created_at), speech_seconds ? words.seconds(speech_seconds) : "length unknown", ...warnings.map(words.warning)].join(", ");
    const move = worker("Move", message, async () => {
      const to = await this.choose("Whose voice is it?", "Move", speaker.id, inside);
      if (!to) return;
      await ask("POST", `${path}/enrolments/${id}/move`, { query: inside, body: { to } });
      await this.changed(speaker.id, inside);
    }, { "aria-label": `Move the sample of ${text}` });
    const remove = worker("Delete", message, async () => {
      if (!(await confirmed("Delete this sample?", text, "Delete"))) return;
      await ask("DELETE", `${path}/enrolments/${id}`, { query: inside });
      await this.changed(speaker.id, inside);
    }, { class: "danger", "aria-label": `Delete the sample of ${text}` });
    return h("li", {}, h("span", {}, text), this.may("enrol") ? move : null, this.may("admin") ? remove : null);
  }

  async merge({ speaker, name, path, inside }) {
    const from = await this.choose(`Which speaker is also ${name}?`, "Merge", speaker.id, inside);
    if (!from) return;
    await ask("POST", `${path}/merge`, { query: inside, body: { from } });
    await this.changed(speaker.id, inside);
  }

  async remove({ speaker, name, path, inside }) {
    const text = `${name} and ${words.plural(speaker.enrolments, "sample")} in the collection ${inside.collection} are gone for good.`;
    if (!(await confirmed("Delete this speaker?", text, "Delete"))) return;
    await ask("DELETE", path, { query: inside });
    this.close();
    await this.load();
    this.forgetIdentified();
    this.message.show("good", h("p", {}, `${name} is deleted.`));
    this.search.focus();
  }

  /** Asks for another speaker of the collection. */
  async choose(title, action, except, inside) {
    const others = [];
    for (let after = null; ;) {
      const { speakers, next } = await ask("GET", "v1/speakers", { query: { ...inside, limit: 200, after } });
      others.push(...speakers.filter(({ id }) => id !== except));
      if (!next || others.length >= MAX_CHOICES) break;
      after = next;
    }
    return dialog(title, (close) => {
      const hasTwin = ({ id, name }) => others.some((other) => other.id !== id && other.name === name);
      const shown = (one) => {
        if (!one.name) return one.id;
        return UUID.test(one.id) && !hasTwin(one) ? one.name : `${one.name} (${one.id})`;
      };
      const select = h("select", {}, others.sort(byName).map((other) => h("option", { value: other.id }, shown(other))));
      return [
        others.length > 0
          ? field("Speaker", select, others.length >= MAX_CHOICES ? `The first ${MAX_CHOICES} of the collection.` : null)
          : h("p", {}, "There is no other speaker."),
        h("p", { class: "actions" },
          button("Cancel", () => close(null)), others.length > 0 ? button(action, () => close(select.value)) : null),
      ];
    });
  }

  async changed(id, inside) {
    await this.load();
    if (inside.collection === this.in.collection) await this.show(id, inside);
  }

  identification() {
    const result = h("div", {});
    const message = new Message();
    this.forgetIdentified = () => {
      result.replaceChildren();
      message.clear();
    };
    const identify = ([file]) => this.collection.reportValidity() && attempt(message, async () => {
      result.replaceChildren();
      message.show("good", h("p", {}, "Analysing …"));
      const found = await ask("POST", "v1/identify", { body: form({ file, ...this.in, model: model() }) });
      result.replaceChildren(...this.verdict(found));
      message.show("good", h("p", {}, this.sentence(found)));
    });
    return h("details", { open: true },
      h("summary", {}, h("h3", {}, "Whose voice is it?")),
      recordingInput({ label: "A recording of somebody", onfiles: identify, record }), message.element, result);
  }

  sentence({ speaker, reason, candidates, calibration_note: note }) {
    if (reason === "empty_collection") return note;
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
      candidates.length > 0 ? h("p", { class: "quiet" }, `Threshold ${threshold.toFixed(3)}, by ${modelName(found.model)}. ${sure}`) : null,
    ].filter(Boolean);
  }

  creation() {
    const name = h("input", { maxlength: "200", required: true, pattern: ".*\\S.*", placeholder: " " });
    const id = h("input", { pattern: IDENTIFIER, placeholder: " " });
    const message = new Message();
    const isValid = () => [this.collection, name, id].every((input) => input.reportValidity());
    const create = (file, wanted, { isNew, force }) => attempt(message, async () => {
      if (!isNew && (await this.isKnown(file, wanted, message, () => create(file, wanted, { isNew: true })))) return;
      try {
        const speaker = await ask("POST", "v1/speakers", { body: form({ file, ...wanted, model: model(), force }) });
        [name.value, id.value] = ["", ""];
        if (this.may("read")) await this.changed(speaker.id, { collection: wanted.collection });
        message.show("good", h("p", {}, `${speaker.name} is enrolled.`));
      } catch (error) {
        if (!MAY_BE_FORCED.includes(error.code) || force) throw error;
        message.error(error, button("Enrol all the same", () => create(file, wanted, { isNew: true, force: true })));
      }
    });
    const wanted = () => ({ name: name.value.trim(), id: id.value, ...this.in });
    return h("details", {},
      h("summary", {}, h("h3", {}, "Enrol somebody")),
      h("div", { class: "row" }, field("Name", name), field("Id", id, "Optional: letters, digits, dots, hyphens.")),
      recordingInput({
        label: "A recording of this speaker alone, best of 10 seconds or more",
        onfiles: ([file]) => isValid() && create(file, wanted(), {}),
        record: async () => (isValid() ? record() : null),
      }), message.element);
  }

  /** Whether the voice is an enrolled speaker's, which is told then. */
  async isKnown(file, { collection }, message, goOn) {
    if (!this.may("identify")) return false;
    const { speaker, candidates } = await ask("POST", "v1/identify", { body: form({ file, collection, model: model() }) });
    if (!speaker) return false;
    const { name, similarity } = candidates[0];
    message.show("error",
      h("p", {}, `This voice is known as ${name || speaker} (${words.similarity(similarity)}). Another sample belongs to that speaker.`),
      button("Make a new speaker all the same", goOn));
    return true;
  }

  async export() {
    if (!this.collection.reportValidity()) return;
    const inside = this.in;
    const lines = await ask("GET", "v1/export", { query: inside, as: "blob" });
    download(`speakers-${inside.collection}.ndjson`, "application/x-ndjson", lines);
  }
}

/** The order of names, and of ids where there is none. */
function byName(a, b) {
  return (a.name || a.id).localeCompare(b.name || b.id, undefined, { sensitivity: "base" });
}

/** What was enrolled, and what was noticed. */
function sampleInWords({ speech_seconds, similarity_to_profile: similarity, warnings, similar_speakers }) {
  const known = similarity === null ? "" : `, ${words.similarity(similarity)} similar to what was known`;
  const noticed = warnings.map((code) => `; ${words.warning(code)}`).join("");
  const others = (similar_speakers ?? []).map(({ name, speaker, similarity: to }) => ` Also sounds like ${name || speaker} (${words.similarity(to)}).`);
  return `Enrolled: ${words.seconds(speech_seconds)} of speech${known}${noticed}.${others.join("")}`;
}
