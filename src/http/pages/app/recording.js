// A recording on the page: its waveform, its report and its player.

import { ask, form } from "./api.js";
import { h } from "./dom.js";
import { model } from "./models.js";
import * as words from "./words.js";
import { shapeOf, Waveform } from "./waveform.js";

/** A file with the service's report and the browser's waveform. */
export class Recording {
  constructor(file) {
    this.file = file;
    this.name = file.name;
    this.url = URL.createObjectURL(file);
    this.voice = null;
    this.audio = h("audio", { src: this.url, controls: true, preload: "metadata", "aria-label": `Play ${this.name}` });
    this.waveform = new Waveform(`Waveform of ${this.name}`, (second) => this.play(second));
    this.audio.addEventListener("timeupdate", () => this.waveform.set({ at: this.audio.currentTime }));
    this.report = h("p", { class: "report", role: "status" }, "Analysing …");
    this.warnings = h("ul", { class: "warnings" });
    this.element = h("div", { class: "recording" }, this.waveform.canvas, this.audio, this.report, this.warnings);
  }

  /** Draws the waveform, if the browser can decode the recording. */
  async draw() {
    const shape = await shapeOf(this.file);
    if (shape) this.waveform.set({ shape });
    else this.waveform.canvas.replaceWith(h("p", { class: "quiet" }, "This browser cannot show the waveform of this file."));
    return shape;
  }

  /** Embeds the recording. */
  async embed() {
    this.report.replaceChildren("Analysing …");
    this.report.classList.remove("error");
    const answer = await ask("POST", "v1/embeddings", { body: form({ file: this.file, speech: true, model: model() }) });
    [this.voice] = answer.data;
    this.tell(this.voice.audio);
  }

  /** Shows the service's report. */
  tell(audio) {
    const { duration_seconds, speech_seconds, speech_segments, warnings } = audio;
    this.report.textContent = `${words.seconds(duration_seconds)}, ${words.seconds(speech_seconds)} of speech`;
    this.warnings.replaceChildren(...warnings.map((code) => h("li", {}, words.warning(code))));
    this.waveform.canvas.setAttribute("aria-label",
      `Waveform of ${this.name}: ${words.seconds(duration_seconds)}, of which ${words.seconds(speech_seconds)} are speech`);
    if (speech_segments) this.waveform.set({ stretches: speech_segments });
  }

  /** Shows why the recording has no embedding. */
  fail(error, again) {
    this.report.replaceChildren(error.message, " ", again);
    this.report.classList.add("error");
  }

  play(second) {
    this.audio.currentTime = second;
    this.audio.play().catch(() => {});
  }

  forget() {
    this.waveform.forget();
    URL.revokeObjectURL(this.url);
  }
}
