// The view that shows who spoke when, and who said what.

import { ask, form } from "./api.js";
import { announce, attempt, button, colour, dialog, download, field, h, IDENTIFIER, Message, recordingInput, Turns, worker } from "./dom.js";
import { model, modelName } from "./models.js";
import { record } from "./recorder.js";
import { Recording } from "./recording.js";
import { MEETING, sampleButton } from "./samples.js";
import { partsOf, replaceNames } from "./transcripts.js";
import * as words from "./words.js";

const TRANSCRIPT = /\.(json|vtt|srt|txt)$/i;

/** The formats of downloads and their content types. */
const FORMATS = { rttm: "text/plain", vtt: "text/vtt", srt: "application/x-subrip" };

/** Returns the view for a key. */
export function turnsView(key) {
  const view = new View(key);
  return {
    element: view.element,
    forget: () => view.last?.recording.forget(),
    modelChanged: () => view.last && attempt(view.message, () => view.analyse(view.last.file, view.last.transcript)),
  };
}

class View {
  constructor(key) {
    this.key = key;
    this.number = h("input", { type: "number", min: "1", max: "30", placeholder: "automatic" });
    this.collection = h("input", { value: key.collection, pattern: IDENTIFIER });
    this.message = new Message();
    this.place = h("div", {});
    this.last = null;
    this.again = worker("Analyse again", this.message, () => this.analyse(this.last.file, this.last.transcript));
    this.drop = worker("Without the transcript", this.message, () => this.analyse(this.last.file, null));
    this.turns = new Turns();
    this.progress = h("p", { class: "quiet", role: "timer", hidden: true });
    this.actions = h("p", { class: "actions", hidden: true }, this.again, this.drop);
    // The service may run without a store of speakers.
    ask("GET", "ready").then(({ store }) => {
      this.has_store = store !== "none";
      if (!this.has_store) this.collection.value = "";
    }).catch(() => {});
    this.element = h("section", { "aria-labelledby": "turns-title" },
      h("h2", { id: "turns-title" }, "Who spoke when"),
      h("p", {}, "See who speaks when in a conversation. With its transcript, you see who said what."),
      h("div", { class: "row" },
        field("Number of speakers", this.number),
        key.may("identify") ? field("Names from the collection", this.collection, key.may("embed") ? "Leave empty for no names." : null) : null),
      recordingInput({
        label: "A recording of a conversation",
        hint: "Optionally with its transcript: JSON of a speech recogniser, VTT or SRT.",
        multiple: true,
        more: ",.json,.vtt,.srt",
        onfiles: (files) => this.take(files),
        record,
      }),
      h("p", { class: "actions" }, sampleButton("Try with a sample meeting", MEETING, this.message, (files) => this.take(files))),
      this.message.element, this.progress, this.actions, this.place);
  }

  /** Accepts a recording, a transcript of the current recording, or both. */
  take(files) {
    const isTranscript = ({ name, type }) => TRANSCRIPT.test(name) || type.startsWith("text/");
    const recordings = files.filter((file) => !isTranscript(file));
    const transcript = files.find(isTranscript);
    return attempt(this.message, async () => {
      if (recordings.length > 1) throw new Error("One recording at a time.");
      if (recordings.length === 0 && !this.last) throw new Error("A transcript needs its recording.");
      const [file] = recordings;
      await this.analyse(file ?? this.last.file, transcript ?? null);
    });
  }

  /** Shows the elapsed time of the analysis. Returns a function that ends it. */
  tellProgress(file) {
    const begun = Date.now();
    const tell = () => {
      this.progress.textContent = `Analysing ${file.name}: ${Math.round((Date.now() - begun) / 1000)} s. An hour of conversation takes about half a minute.`;
    };
    tell();
    this.progress.hidden = false;
    const clock = setInterval(tell, 1000);
    return () => {
      clearInterval(clock);
      this.progress.hidden = true;
    };
  }

  async analyse(file, transcript) {
    if (!this.number.reportValidity() || !this.collection.reportValidity()) return;
    const options = {
      num_speakers: this.number.value && Number(this.number.value),
      collection: this.key.may("identify") ? this.collection.value.trim() : "",
      model: model(),
      transcript,
    };
    const isLast = this.turns.next();
    announce("Analysing …");
    // The previous result stays until the request succeeds.
    const stopClock = this.tellProgress(file);
    const answer = await ask("POST", "v1/diarize", { body: form({ file, ...options }) }).finally(stopClock);
    if (!isLast()) return;
    this.last?.recording.forget();
    const timeline = new Timeline(file, options, answer, {
      mayEnrol: this.key.may("enrol") && this.key.may("identify") && this.has_store !== false && options.collection !== "",
      again: () => this.analyse(file, transcript),
    });
    this.last = { file, transcript, recording: timeline.recording };
    this.place.replaceChildren(timeline.element);
    this.actions.hidden = false;
    this.drop.hidden = !transcript;
    announce(`${words.plural(answer.speakers.length, "speaker")}, ${words.plural(answer.segments.length, "turn")}`);
  }
}

/** The turns of a recording. */
class Timeline {
  constructor(file, options, answer, { mayEnrol, again }) {
    Object.assign(this, { file, options, answer, mayEnrol, again, marks: [], rows: [] });
    this.known = new Map(answer.speakers.map(({ label, name, speaker }) => [label, name || speaker || null]));
    this.written = new Map();
    this.recording = new Recording(file);
    this.recording.draw();
    this.recording.tell(answer.audio);
    this.recording.waveform.set({ stretches: answer.segments.map(({ start, end }) => [start, end]) });
    this.message = new Message();
    this.recording.audio.addEventListener("timeupdate", () => this.follow(this.recording.audio.currentTime));
    const save = (format) => worker(format.toUpperCase(), this.message, () => this.save(format), { "aria-label": `Download ${format.toUpperCase()}` });
    this.element = h("div", {},
      h("h3", {}, file.name), this.recording.element, this.message.element,
      h("div", { class: "lanes" }, answer.speakers.map((speaker) => this.lane(speaker, answer.audio.duration_seconds))),
      h("p", { class: "quiet" }, this.summary()),
      this.text(),
      h("p", { class: "actions" }, "Download: ", Object.keys(FORMATS).map(save)));
  }

  /** Returns a speaker's name: the edited name, the enrolled name, or the label. */
  name(label) {
    return this.written.get(label) || this.known.get(label) || label;
  }

  /** Changes a speaker's name on the page and in downloads. */
  rename(label, name) {
    this.written.set(label, name.trim());
    for (const row of this.rows) if (row.label === label) row.speaker.textContent = this.name(label);
    for (const mark of this.marks) if (mark.label === label) mark.element.setAttribute("aria-label", this.playLabel(mark));
  }

  playLabel({ label, start, end }) {
    return `Play ${this.name(label)} from ${words.time(start)} to ${words.time(end)}`;
  }

  /** Returns the model and the seconds of overlapping speech. */
  summary() {
    const { model: used, overlap_seconds: overlap } = this.answer;
    const together = overlap > 0 ? ` Hatched: overlapping speech, ${words.seconds(overlap)} in all.` : "";
    return `Model: ${modelName(used)}.${together}`;
  }

  /** Marks the lines and turns at the position of the player. */
  follow(at) {
    for (const { start, end, line } of this.rows) line.classList.toggle("now", at >= start && at < end);
    for (const { start, end, element } of this.marks) element.classList.toggle("now", at >= start && at < end);
  }

  /** Returns a lane with a speaker's turns over the length of the recording. */
  lane({ label, seconds }, duration) {
    const part = (value) => `${(100 * value) / duration}%`;
    const place = this.answer.speakers.findIndex((speaker) => speaker.label === label);
    const turn = (segment) => {
      const { start, end } = segment;
      const element = button("", () => this.recording.play(start), {
        class: `turn ${colour(place)}`, style: { left: part(start), width: part(end - start) }, "aria-label": this.playLabel(segment),
      });
      this.marks.push({ label, start, end, element });
      return element;
    };
    const [mine, others] = [true, false].map((own) => this.answer.segments.filter((segment) => (segment.label === label) === own));
    const overlaps = ({ start, end }) => others.filter((other) => other.start < end && start < other.end)
      .map((other) => [Math.max(start, other.start), Math.min(end, other.end)]);
    const shared = mine.flatMap(overlaps)
      .map(([start, end]) => h("span", { class: "overlap", style: { left: part(start), width: part(end - start) } }));
    const input = h("input", { "aria-label": `Name of ${label}`, placeholder: label, maxlength: "200", value: this.known.get(label) });
    input.addEventListener("input", () => this.rename(label, input.value));
    return h("div", { class: "lane" },
      h("div", { class: "title" },
        input, h("span", { class: "quiet" }, words.seconds(seconds)),
        this.mayEnrol && !this.known.get(label) ? worker("Enrol …", this.message, () => this.enrol(label), { "aria-label": `Enrol ${label} …` }) : null),
      h("div", { class: "track" }, mine.map(turn), shared));
  }

  /** Returns a table of the transcript, or of the turns if there is none. */
  text() {
    const { segments } = this.answer;
    const transcript = typeof this.answer.transcript === "string" ? partsOf(this.answer.transcript) : this.answer.transcript;
    // Other transcript formats can only be downloaded. For them, the table shows the turns.
    const isSaid = (parts) => Array.isArray(parts) && parts.length > 0 && parts.every(({ start, text }) => typeof start === "number" && typeof text === "string");
    const said = [transcript, transcript?.segments].find(isSaid);
    const lines = said ?? segments.map(({ label, ...segment }) => ({ ...segment, speaker: label }));
    const play = (start) => button(words.time(start), () => this.recording.play(start), { class: "quiet", "aria-label": `Play from ${words.time(start)}` });
    // A transcript contains the names that the service assigned.
    const places = new Map(this.answer.speakers.flatMap(({ label }, place) => [[label, place], [this.known.get(label), place]]));
    const row = ({ start, end, speaker, text }) => {
      const place = places.get(speaker);
      const label = place === undefined ? null : this.answer.speakers[place].label;
      const name = h("span", {}, label ? this.name(label) : speaker ?? "");
      const line = h("tr", {},
        h("td", {}, play(start)),
        h("td", {}, label ? h("span", { class: `dot ${colour(place)}` }) : null, name),
        h("td", {}, said ? text.trim() : words.seconds(end - start)));
      this.rows.push({ label, start, end, line, speaker: name });
      return line;
    };
    this.rows = [];
    return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Turns" }, h("table", { class: "turns" },
      h("caption", {}, said ? "Who said what" : "Who spoke when"),
      h("thead", {}, h("tr", {}, ["Time", "Speaker", said ? "Text" : "Length"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, lines.map(row))));
  }

  /** Enrols a speaker with the recording's speech, and analyses the recording again, so that the name appears everywhere. */
  async enrol(label) {
    const { embedding, model, speech_seconds, seconds } = this.answer.speakers.find((speaker) => speaker.label === label);
    const name = await dialog(`Who is ${label}?`, (close) => {
      const input = h("input", { required: true, maxlength: "200", autofocus: true, pattern: ".*\\S.*", value: this.written.get(label) });
      const element = h("form", { method: "dialog" },
        field("Name", input, `A new speaker is enrolled with ${words.seconds(seconds)} of this recording.`),
        h("p", { class: "actions" }, button("Cancel", () => close(null)), h("button", { type: "submit" }, "Enrol")));
      element.addEventListener("submit", () => close(input.value.trim()));
      return element;
    });
    if (!name) return;
    const body = { name, collection: this.options.collection, voices: [{ embedding, model, speech_seconds }] };
    await ask("POST", "v1/speakers", { body });
    announce(`${name} is enrolled.`);
    await this.again();
  }

  async save(format) {
    const body = form({ file: this.file, ...this.options, response_format: format, ...(format === "rttm" ? { transcript: null } : {}) });
    const text = await ask("POST", "v1/diarize", { body, as: "text" });
    const names = new Map([...this.written].filter(([, name]) => name).map(([label, name]) => [this.known.get(label) ?? label, name]));
    download(`${this.file.name.replace(/\.[^.]*$/, "")}.${format}`, FORMATS[format], replaceNames(text, format, names));
  }
}
