// The view that compares recordings.

import { ask } from "./api.js";
import { falseAcceptRate } from "./calibration.js";
import { attempt, button, copyButton, field, h, Message, recordingInput, Turns } from "./dom.js";
import { modelName } from "./models.js";
import { record } from "./recorder.js";
import { Recording } from "./recording.js";
import { sampleButton, THREE_VOICES } from "./samples.js";
import * as words from "./words.js";

const MAX_RECORDINGS = 20;

/** The number of recordings that are embedded at the same time. */
const AT_ONCE = 2;

/** The delay after the last change of the threshold before new groups are requested. */
const SETTLED_MILLISECONDS = 200;

/** Returns the view: its element, and functions that discard its recordings and embed them with another model. */
export function compareView() {
  const view = new Compare();
  return { element: view.element, forget: () => view.forget(), modelChanged: () => view.embedAgain() };
}

class Compare {
  constructor() {
    this.recordings = [];
    this.waiting = [];
    this.n_running = 0;
    this.message = new Message();
    this.list = h("ol", { class: "recordings" });
    this.results = new Results();
    this.input = recordingInput({
      label: `Recordings to compare, up to ${MAX_RECORDINGS}`,
      multiple: true,
      onfiles: (files) => this.add(files),
      record,
    });
    this.element = h("section", { "aria-labelledby": "compare-title" },
      h("h2", { id: "compare-title" }, "Compare voices"),
      h("p", {}, "Drop recordings or record some to see which are of the same person."),
      this.input,
      h("p", { class: "actions" }, sampleButton("Try with sample voices", THREE_VOICES, this.message, (files) => this.add(files))),
      this.message.element, this.results.sentence, this.list, this.results.element);
  }

  forget() {
    this.waiting = [];
    this.results.forget();
    this.recordings.forEach((recording) => recording.forget());
  }

  /** Embeds all recordings with the chosen model. The threshold is reset, because each model has its own. */
  embedAgain() {
    this.results.threshold = undefined;
    for (const recording of this.recordings) recording.voice = null;
    this.waiting = [...this.recordings];
    for (let n = 0; n < AT_ONCE; n += 1) this.next();
  }

  add(files) {
    this.message.clear();
    const free = MAX_RECORDINGS - this.recordings.length;
    if (files.length > free) this.message.show("error", h("p", {}, `At most ${MAX_RECORDINGS} recordings are compared.`));
    for (const file of files.slice(0, free)) {
      const recording = new Recording(file);
      const item = h("li", {},
        h("div", { class: "title" }, h("h3", {}, file.name),
          button("Remove", () => this.remove(recording, item), { "aria-label": `Remove ${file.name}`, class: "quiet" })),
        recording.element);
      this.recordings.push(recording);
      this.list.append(item);
      recording.draw();
      this.waiting.push(recording);
      this.next();
    }
  }

  remove(recording, item) {
    const neighbour = (item.nextElementSibling ?? item.previousElementSibling)?.querySelector(".title button");
    (neighbour ?? this.input.querySelector("input")).focus();
    this.recordings.splice(this.recordings.indexOf(recording), 1);
    this.waiting = this.waiting.filter((other) => other !== recording);
    item.remove();
    recording.forget();
    this.update();
  }

  /** Embeds waiting recordings, at most `AT_ONCE` at the same time. */
  async next() {
    if (this.n_running >= AT_ONCE || this.waiting.length === 0) return;
    this.n_running += 1;
    const recording = this.waiting.shift();
    try {
      await recording.embed();
    } catch (error) {
      const again = button("Try again", () => {
        again.remove();
        this.waiting.push(recording);
        this.next();
      }, { "aria-label": `Try ${recording.name} again` });
      recording.fail(error, again);
      // Without a key, each of the other recordings would ask for it again.
      if (error.code === "no_key") this.waiting.splice(0).forEach((other) => other.fail(error, ""));
    }
    this.n_running -= 1;
    this.next();
    this.update();
  }

  /** Compares the recordings as soon as all are embedded. */
  update() {
    if (this.n_running > 0 || this.waiting.length > 0) return;
    this.results.update(this.recordings.filter(({ voice }) => voice));
  }
}

/** The matrix of similarities, the threshold and the groups. */
class Results {
  constructor() {
    this.updates = new Turns();
    this.groupings = new Turns();
    this.message = new Message();
    this.calibrations = {};
    this.caption = h("caption", {});
    this.table = h("table", { class: "matrix" });
    this.slider = h("input", { type: "range", step: "any", "aria-describedby": "meaning" });
    this.meaning = h("p", { id: "meaning" });
    this.sentence = h("p", { class: "answer", role: "status", hidden: true });
    this.groups = h("ul", { class: "groups" });
    this.command = h("code", {});
    this.slider.addEventListener("input", () => {
      this.threshold = Math.round(Number(this.slider.value) * 1e3) / 1e3;
      this.colour();
      clearTimeout(this.settled);
      this.settled = setTimeout(() => this.regroup(), SETTLED_MILLISECONDS);
    });
    this.slider.addEventListener("keydown", (event) => this.step(event));
    this.found = h("div", { hidden: true },
      h("h3", {}, "How alike they are"),
      h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Matrix of similarities" }, this.table),
      field("Threshold", this.slider), this.meaning,
      h("h3", {}, "Who belongs together"), this.groups,
      h("h3", {}, "Export"),
      h("p", { class: "actions" },
        copyButton("Copy as CSV", "CSV", () => this.csv()),
        copyButton("Copy as JSON", "JSON", () => this.json()),
        copyButton("Copy the curl line", "curl line", () => this.command.textContent)),
      h("pre", { tabindex: "0", role: "group", "aria-label": "The same with curl" }, this.command));
    this.element = h("div", {}, this.message.element, this.found);
  }

  /** Compares embedded recordings. */
  async update(recordings) {
    const isLast = this.updates.next();
    this.found.hidden = recordings.length < 2;
    this.sentence.hidden = recordings.length < 2;
    this.message.clear();
    if (recordings.length < 2) return;
    await attempt(this.message, async () => {
      const asked = this.threshold;
      const answer = await this.ask(recordings, asked);
      const calibration = await this.calibrationOf(answer.model);
      if (!isLast()) return;
      this.threshold ??= answer.threshold;
      this.forget();
      Object.assign(this, { recordings, answer, calibration });
      this.draw();
      // The threshold has changed in the meantime.
      if (asked !== undefined && asked !== this.threshold) this.regroup();
    }, isLast);
  }

  /** Discards pending requests for groups. */
  forget() {
    clearTimeout(this.settled);
    this.groupings.next();
  }

  ask(recordings, threshold) {
    const voices = recordings.map(({ voice }) => ({
      embedding: voice.embedding, model: voice.model, speech_seconds: voice.speech_seconds, warnings: voice.audio.warnings,
    }));
    return ask("POST", "v1/similarities", { body: { voices, labels: recordings.map(({ name }) => name), clusters: true, threshold } });
  }

  /** Requests the groups of the shown recordings at the new threshold. */
  async regroup() {
    const isLast = this.groupings.next();
    await attempt(this.message, async () => {
      const { clusters } = await this.ask(this.recordings, this.threshold);
      if (!isLast()) return;
      this.answer.clusters = clusters;
      this.drawGroups();
    }, isLast);
  }

  /** Resolves to the model's calibration, or null if it has none, as custom weights do. */
  async calibrationOf(model) {
    if (model in this.calibrations) return this.calibrations[model];
    try {
      this.calibrations[model] = await ask("GET", "v1/calibration", { query: { model } });
    } catch (error) {
      if (error.status !== 404) throw error;
      this.calibrations[model] = null;
    }
    return this.calibrations[model];
  }

  draw() {
    const { labels, matrix, model } = this.answer;
    this.caption.textContent = `Similarities by ${modelName(model)}, from -1 to 1`;
    const cell = (value) => h("td", { style: { "--closeness": Math.max(0, value) } });
    const row = (label, i) => h("tr", {}, h("th", { scope: "row" }, label), matrix[i].map((value, j) => cell(value, i, j)));
    this.table.replaceChildren(this.caption,
      h("thead", {}, h("tr", {}, h("td", {}), labels.map((label) => h("th", { scope: "col" }, label)))),
      h("tbody", {}, labels.map(row)));
    [this.slider.min, this.slider.max] = [Math.min(0.3, this.threshold), 1];
    this.slider.value = this.threshold;
    this.found.hidden = false;
    this.colour();
    this.drawGroups();
  }

  /** Moves the threshold by 0.005 on each arrow key. */
  step(event) {
    const direction = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!direction) return;
    event.preventDefault();
    this.slider.value = this.threshold + 0.005 * direction;
    this.slider.dispatchEvent(new Event("input"));
  }

  /** Fills the cells, marks pairs of the same speaker, and explains the threshold. */
  colour() {
    const { labels, matrix } = this.answer;
    this.table.querySelectorAll("tbody tr").forEach((row, i) => row.querySelectorAll("td").forEach((cell, j) => {
      if (i === j) return;
      const isSame = matrix[i][j] > this.threshold;
      cell.className = isSame ? "same" : "different";
      cell.title = `${labels[i]} and ${labels[j]}: ${isSame ? "the same speaker" : "different speakers"}`;
      cell.replaceChildren(words.similarity(matrix[i][j]), isSame ? h("span", { class: "hidden" }, ", the same speaker") : "");
    }));
    this.slider.setAttribute("aria-valuetext", this.threshold.toFixed(3));
    this.meaning.textContent = this.meant();
    this.command.textContent = this.curl();
  }

  meant() {
    const above = `Above ${this.threshold.toFixed(3)} two voices count as one.`;
    if (!this.calibration) return `${above} How often this is wrong is not known for this model.`;
    const typical = median(this.recordings.map(({ voice }) => voice.speech_seconds));
    const { rate, isBound } = falseAcceptRate(this.calibration, this.threshold, typical, typical);
    const { description, not_measured } = this.calibration.set;
    return `${above} On ${description}, ${words.frequency(rate, isBound)} comparisons of different speakers of the same sex with `
      + `${words.seconds(typical)} of speech score higher. Not measured for ${not_measured}.`;
  }

  drawGroups() {
    const { labels, clusters } = this.answer;
    const chip = (place) => h("span", { class: "chip" }, labels[place]);
    this.groups.replaceChildren(...clusters.map((group) => h("li", {}, group.map(chip))));
    this.sentence.textContent = words.samePeople(clusters.map((group) => group.map((place) => labels[place].replace(/\.[^.]*$/, ""))));
    this.sentence.hidden = false;
  }

  csv() {
    const { labels, matrix } = this.answer;
    const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
    const lines = [["", ...labels.map(quoted)], ...matrix.map((row, i) => [quoted(labels[i]), ...row])];
    return lines.map((line) => `${line.join(",")}\n`).join("");
  }

  json() {
    const { labels, matrix, clusters, model } = this.answer;
    return JSON.stringify({ labels, matrix, clusters, threshold: this.threshold, model });
  }

  curl() {
    const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const file = (name) => quoted(`file=@"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`);
    const { labels } = this.answer;
    const parts = [...labels.map(file), quoted(`labels=${JSON.stringify(labels)}`), "clusters=true", `threshold=${this.threshold}`];
    return `curl ${new URL("v1/similarities", document.baseURI).href} -H "X-API-Key: $API_KEY"${parts.map((part) => ` \\\n  -F ${part}`).join("")}`;
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
