// Compare: recordings beside each other.

import { ask } from "./api.js";
import { falseAcceptRate } from "./calibration.js";
import { busy, button, copy, field, h, Message, recordingInput } from "./dom.js";
import { record } from "./recorder.js";
import { Recording } from "./recording.js";
import * as words from "./words.js";

const MAX_RECORDINGS = 20;

/** Recordings that are embedded at once. */
const AT_ONCE = 2;

/** After the last move of the threshold, until groups are asked for. */
const SETTLED_MILLISECONDS = 200;

export function compareView() {
  const recordings = [];
  const message = new Message();
  const list = h("ol", { class: "recordings" });
  const results = new Results(recordings);
  let n_waiting = 0;
  const waiting = [];

  async function next() {
    if (n_waiting >= AT_ONCE || waiting.length === 0) return;
    n_waiting += 1;
    const recording = waiting.shift();
    try {
      await recording.embed();
    } catch (error) {
      recording.fail(error);
    }
    n_waiting -= 1;
    next();
    if (n_waiting === 0 && waiting.length === 0) await results.update(message);
  }

  function add(files) {
    message.clear();
    const free = MAX_RECORDINGS - recordings.length;
    if (files.length > free) message.show("error", h("p", {}, `At most ${MAX_RECORDINGS} recordings are compared.`));
    for (const file of files.slice(0, free)) {
      const recording = new Recording(file);
      recordings.push(recording);
      const remove = button("Remove", () => {
        recordings.splice(recordings.indexOf(recording), 1);
        item.remove();
        recording.forget();
        results.update(message);
      }, { "aria-label": `Remove ${file.name}`, class: "quiet" });
      const item = h("li", {}, h("div", { class: "title" }, h("h3", {}, file.name), remove), recording.element);
      list.append(item);
      recording.draw();
      waiting.push(recording);
      next();
    }
  }

  const input = recordingInput({
    label: `Recordings to compare, up to ${MAX_RECORDINGS}`,
    multiple: true,
    onfiles: add,
    record: async () => {
      const file = await record();
      if (file) add([file]);
    },
  });
  return h("section", { "aria-labelledby": "compare-title" },
    h("h2", { id: "compare-title" }, "Compare voices"),
    h("p", {}, "Drop recordings or record some: which of them are of the same person?"),
    input, message.element, list, results.element);
}

/** The matrix, its threshold and its groups. */
class Results {
  constructor(recordings) {
    this.recordings = recordings;
    this.element = h("div", { hidden: true });
    this.answer = null;
    this.calibrations = {};
  }

  get embedded() {
    return this.recordings.filter((recording) => recording.voice);
  }

  async update(message) {
    const { embedded } = this;
    this.element.hidden = embedded.length < 2;
    if (embedded.length < 2) return;
    await busy(h("button"), message, async () => {
      this.answer = await this.compare();
      this.threshold ??= this.answer.threshold;
      this.calibration = await this.calibrationOf(this.answer.model);
      this.draw(embedded, message);
    });
  }

  compare(threshold) {
    const voices = this.embedded.map(({ voice }) => ({
      embedding: voice.embedding, model: voice.model, speech_seconds: voice.speech_seconds, warnings: voice.audio.warnings,
    }));
    const labels = this.embedded.map(({ name }) => name);
    return ask("POST", "v1/similarities", { body: { voices, labels, clusters: true, threshold } });
  }

  /** Null if there is none, as for weights of one's own. */
  async calibrationOf(model) {
    this.calibrations[model] ??= ask("GET", "v1/calibration", { query: { model } }).catch(() => null);
    return this.calibrations[model];
  }

  draw(embedded, message) {
    const { labels, matrix } = this.answer;
    const cell = (value, i, j) => h("td", { style: { "--closeness": Math.max(0, value) } }, i === j ? "" : words.similarity(value));
    const row = (label, i) => h("tr", {}, h("th", { scope: "row" }, label), matrix[i].map((value, j) => cell(value, i, j)));
    this.table = h("table", { class: "matrix" },
      h("caption", {}, "Similarities: from -1 to 1"),
      h("thead", {}, h("tr", {}, h("td", {}), labels.map((label) => h("th", { scope: "col" }, label)))),
      h("tbody", {}, labels.map(row)));
    this.slider = h("input", { type: "range", min: "0.3", max: "1", step: "0.005", value: String(this.threshold) });
    this.meaning = h("p", { id: "meaning" });
    this.groups = h("ul", { class: "groups" });
    let settled;
    this.slider.addEventListener("input", () => {
      this.threshold = Number(this.slider.value);
      this.colour(embedded);
      clearTimeout(settled);
      settled = setTimeout(() => busy(h("button"), message, async () => {
        this.answer = { ...this.answer, clusters: (await this.compare(this.threshold)).clusters };
        this.drawGroups();
      }), SETTLED_MILLISECONDS);
    });
    const command = this.command();
    this.element.replaceChildren(
      h("h3", {}, "How alike they are"),
      h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Matrix of similarities" }, this.table),
      field("Threshold", this.slider), this.meaning,
      h("h3", {}, "Who belongs together"), this.groups,
      h("h3", {}, "Take it along"),
      h("p", { class: "actions" },
        button("Copy as CSV", () => copy(this.csv(), "CSV")),
        button("Copy as JSON", () => copy(JSON.stringify({ ...this.answer, threshold: this.threshold, audio: undefined }), "JSON")),
        button("Copy the curl line", () => copy(command, "curl line"))),
      h("pre", { tabindex: "0", role: "group", "aria-label": "The same with curl" }, h("code", {}, command)));
    this.colour(embedded);
    this.drawGroups();
  }

  /** Marks who counts as one speaker, and says what the threshold means. */
  colour(embedded) {
    const { labels, matrix } = this.answer;
    this.table.querySelectorAll("tbody tr").forEach((row, i) => row.querySelectorAll("td").forEach((cell, j) => {
      const isSame = i !== j && matrix[i][j] > this.threshold;
      cell.className = i === j ? "self" : isSame ? "same" : "different";
      if (i !== j) cell.title = `${labels[i]} and ${labels[j]}: ${isSame ? "the same speaker" : "different speakers"}`;
    }));
    this.slider.setAttribute("aria-valuetext", words.similarity(this.threshold));
    const above = `Above ${this.threshold.toFixed(3)} two voices count as one.`;
    if (!this.calibration) {
      this.meaning.textContent = `${above} How often that errs is not known for this model.`;
      return;
    }
    const typical = median(embedded.map(({ voice }) => voice.speech_seconds));
    const { rate, isBound } = falseAcceptRate(this.calibration, this.threshold, typical, typical);
    this.meaning.textContent = `${above} On ${this.calibration.set.description}, ${words.frequency(rate, isBound)} comparisons of `
      + `different speakers of the same sex with ${words.seconds(typical)} of speech score higher. Not measured for ${this.calibration.set.not_measured}.`;
  }

  drawGroups() {
    const { labels, clusters } = this.answer;
    this.groups.replaceChildren(...clusters.map((group) => h("li", {}, group.map((place) => h("span", { class: "chip" }, labels[place])))));
  }

  csv() {
    const { labels, matrix } = this.answer;
    const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
    const lines = [["", ...labels.map(quoted)], ...matrix.map((row, i) => [quoted(labels[i]), ...row])];
    return lines.map((line) => `${line.join(",")}\n`).join("");
  }

  command() {
    const base = new URL("v1/similarities", document.baseURI).href;
    const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const files = this.embedded.map(({ name }) => ` \\\n  -F ${quoted(`file=@"${name}"`)}`);
    const labels = quoted(`labels=${JSON.stringify(this.embedded.map(({ name }) => name))}`);
    return `curl ${base} -H "X-API-Key: $API_KEY"${files.join("")} \\\n  -F ${labels} -F clusters=true`;
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}
