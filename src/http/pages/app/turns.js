// Who spoke when, and who said what.

import { ask, form } from "./api.js";
import { busy, button, dialog, download, field, h, Message, recordingInput } from "./dom.js";
import { record } from "./recorder.js";
import { Recording } from "./recording.js";
import * as words from "./words.js";

const TRANSCRIPT = /\.(json|vtt|srt)$/i;

/** Formats of downloads, and their content types. */
const FORMATS = { rttm: "text/plain", vtt: "text/vtt", srt: "application/x-subrip" };

/** Colours of speakers, again from the first. */
const N_COLOURS = 8;

/** The view for a key with these rights. */
export function turnsView(key) {
  const may = (right) => key.rights.includes(right) || key.rights.includes("admin");
  const number = h("input", { type: "number", min: "1", max: "30", placeholder: "found out" });
  const collection = h("input", { value: "default", pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]{0,63}" });
  const message = new Message();
  const place = h("div", {});
  const again = button("Tell it again with these settings", () => tell(), { hidden: true });
  let [file, transcript, last] = [null, null, null];

  const tell = () => busy(again, message, async () => {
    last?.recording.forget();
    const options = {
      num_speakers: number.value && Number(number.value),
      collection: may("identify") ? collection.value.trim() : "",
      transcript: transcript && (await transcript.text()),
    };
    last = new Timeline(file, options, may);
    place.replaceChildren(last.element);
    again.hidden = false;
    await last.load();
  });

  /** A recording, a transcript of the one that is there, or both. */
  const take = (files) => {
    const isTranscript = ({ name }) => TRANSCRIPT.test(name);
    const recording = files.find((one) => !isTranscript(one));
    transcript = files.find(isTranscript) ?? (recording ? null : transcript);
    file = recording ?? file;
    if (file) tell();
    else message.show("error", h("p", {}, "A transcript needs its recording."));
  };

  return h("section", { "aria-labelledby": "turns-title" },
    h("h2", { id: "turns-title" }, "Who spoke when"),
    h("p", {}, "A conversation becomes turns by speaker; with a transcript, it is told who said what."),
    h("div", { class: "row" },
      field("Number of speakers", number),
      may("identify") ? field("Names from the collection", collection) : null),
    recordingInput({
      label: "A recording of a conversation",
      hint: "And its transcript, if there is one: Whisper's JSON, VTT or SRT.",
      multiple: true,
      more: ",.json,.vtt,.srt",
      onfiles: take,
      record: async () => {
        const recorded = await record();
        if (recorded) take([recorded]);
      },
    }), again, message.element, place);
}

/** A recording's turns. */
class Timeline {
  constructor(file, options, may) {
    this.file = file;
    this.options = options;
    this.may = may;
    this.recording = new Recording(file);
    this.message = new Message();
    this.lanes = h("div", { class: "lanes" });
    this.table = h("div", {});
    this.actions = h("p", { class: "actions" });
    this.element = h("div", {},
      h("h3", {}, file.name), this.recording.element, this.message.element, this.lanes, this.table, this.actions);
  }

  async load() {
    this.recording.draw();
    this.lanes.replaceChildren(h("p", {}, "…"));
    try {
      this.answer = await ask("POST", "v1/diarize", { body: form({ file: this.file, ...this.options }) });
    } catch (error) {
      this.element.replaceChildren();
      throw error;
    }
    this.names = Object.fromEntries(this.answer.speakers.map(({ label, name, speaker }) => [label, name || speaker || null]));
    this.recording.tell(this.answer.audio);
    this.recording.waveform.set({ stretches: this.answer.segments.map(({ start, end }) => [start, end]) });
    this.draw();
  }

  name(label) {
    return this.names[label] ?? label;
  }

  colour(label) {
    return this.answer.speakers.findIndex((speaker) => speaker.label === label) % N_COLOURS;
  }

  draw() {
    const { speakers, audio } = this.answer;
    this.lanes.replaceChildren(...speakers.map((speaker) => this.lane(speaker, audio.duration_seconds)));
    this.table.replaceChildren(this.text());
    const save = (format) => button(format.toUpperCase(), ({ target }) => this.save(format, target), { "aria-label": `Download ${format.toUpperCase()}` });
    this.actions.replaceChildren("Download: ", ...Object.keys(FORMATS).map(save));
  }

  /** A speaker's turns over the recording's length. */
  lane({ label, seconds }, duration) {
    const part = (value) => `${(100 * value) / duration}%`;
    const turn = ({ start, end }) => button("", () => this.recording.play(start), {
      class: `turn colour-${this.colour(label)}`,
      style: { left: part(start), width: part(end - start) },
      "aria-label": `Play ${this.name(label)} from ${words.time(start)} to ${words.time(end)}`,
    });
    const mine = this.answer.segments.filter((segment) => segment.label === label);
    return h("div", { class: "lane" },
      h("div", { class: "title" },
        h("h4", {}, this.name(label)), h("span", { class: "quiet" }, words.seconds(seconds)),
        this.may("enrol") && !this.names[label] ? button("This is …", () => this.enrol(label), { "aria-label": `This is … (${this.name(label)})` }) : null),
      h("div", { class: "track" }, mine.map(turn)));
  }

  /** What was said, or who spoke, line by line. */
  text() {
    const said = Array.isArray(this.answer.transcript) ? this.answer.transcript : this.answer.transcript?.segments;
    if (typeof this.answer.transcript === "string") {
      return h("pre", { tabindex: "0", role: "group", "aria-label": "Transcript" }, this.answer.transcript);
    }
    const lines = said ?? this.answer.segments.map(({ label, ...segment }) => ({ ...segment, speaker: this.name(label), text: "" }));
    return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Turns" }, h("table", { class: "turns" },
      h("caption", {}, said ? "Who said what" : "Who spoke when"),
      h("thead", {}, h("tr", {}, ["Time", "Speaker", said ? "Text" : "Length"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, lines.map(({ start, end, speaker, text }) => h("tr", {},
        h("td", {}, button(words.time(start), () => this.recording.play(start), { class: "quiet", "aria-label": `Play from ${words.time(start)}` })),
        h("td", {}, this.names[speaker] ?? speaker ?? ""), h("td", {}, said ? text : words.seconds(end - start)))))));
  }

  /** Enrols a speaker of the recording, by what was heard of him or her. */
  async enrol(label) {
    const heard = this.answer.speakers.find((speaker) => speaker.label === label);
    const name = await dialog(`Who is ${label}?`, (close) => {
      const input = h("input", { required: true, maxlength: "200", autofocus: true });
      const element = h("form", { method: "dialog" },
        h("p", {}, `A new speaker is enrolled with ${words.seconds(heard.seconds)} of this recording.`),
        field("Name", input),
        h("p", { class: "actions" }, button("Cancel", () => close(null)), h("button", { type: "submit" }, "Enrol")));
      element.addEventListener("submit", () => close(input.value.trim()));
      return element;
    });
    if (!name) return;
    await busy(h("button"), this.message, async () => {
      const { embedding, model, speech_seconds } = heard;
      const body = { name, collection: this.options.collection || "default", voices: [{ embedding, model, speech_seconds }] };
      await ask("POST", "v1/speakers", { body });
      this.names[label] = name;
      this.draw();
      this.message.show("good", h("p", {}, `${name} is enrolled.`));
    });
  }

  async save(format, target) {
    await busy(target, this.message, async () => {
      const body = form({ file: this.file, ...this.options, response_format: format, ...(format === "rttm" ? { transcript: null } : {}) });
      const text = await ask("POST", "v1/diarize", { body, as: "text" });
      download(`${this.file.name.replace(/\.[^.]*$/, "")}.${format}`, FORMATS[format], text);
    });
  }
}
