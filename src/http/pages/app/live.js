// The live view: the microphone, the session and its events.

import { ask, openSession } from "./api.js";
import { announce, attempt, button, colour, download, field, h, IDENTIFIER, Message } from "./dom.js";
import { model } from "./models.js";
import { microphone, refusal } from "./recorder.js";
import { rttm, vtt } from "./transcripts.js";
import * as words from "./words.js";

/** The shortest time span of the lanes, in seconds. */
const LEAST_SECONDS = 30;

/** The highest sample rate that the service accepts, in Hz. */
const MAX_RATE = 48_000;

/** Returns the view for a key. */
export function liveView(key) {
  const view = new View(key);
  return { element: view.element, forget: () => view.stop() };
}

class View {
  constructor(key) {
    this.key = key;
    this.collection = h("input", { value: key.may("identify") ? key.collection : "", pattern: IDENTIFIER });
    this.message = new Message();
    this.status = h("p", { role: "timer" }, "Not listening.");
    this.lanes = h("div", { class: "lanes" });
    this.saves = h("p", { class: "actions", hidden: true }, "Download: ",
      button("RTTM", () => this.save("rttm", "text/plain", rttm("live", this.sorted())), { "aria-label": "Download RTTM" }),
      button("VTT", () => this.save("vtt", "text/vtt", vtt(this.sorted())), { "aria-label": "Download VTT" }),
      button("WAV", () => this.save("wav", "audio/wav", this.wav()), { "aria-label": "Download WAV" }));
    this.startButton = button("Listen", () => attempt(this.message, () => this.start()));
    this.stopButton = button("Stop", () => this.stop(), { disabled: true });
    // The service may run without a store of speakers.
    ask("GET", "ready").then(({ store }) => {
      if (store === "none") this.collection.value = "";
    }).catch(() => {});
    this.element = h("section", { "aria-labelledby": "live-title" },
      h("h2", { id: "live-title" }, "Live"),
      h("p", {}, "See who is speaking, as they speak. Enrolled speakers are named automatically; you can edit the names."),
      key.may("identify") ? h("div", { class: "row" }, field("Names from the collection", this.collection, "Leave empty for no names.")) : null,
      h("p", { class: "actions" }, this.startButton, this.stopButton),
      this.message.element, this.status, this.lanes, this.saves);
  }

  async start() {
    if (!this.collection.reportValidity()) return;
    this.startButton.disabled = true;
    try {
      Object.assign(this, { turns: new Map(), names: new Map(), written: new Set(), pieces: [], n: 0, speaking: false });
      this.lanes.replaceChildren();
      this.saves.hidden = true;
      this.audio = await listen((piece) => this.heard(piece));
      const collection = this.key.may("identify") ? this.collection.value.trim() : "";
      const socket = await openSession({ sample_rate: this.audio.rate, collection, model: model() });
      this.socket = socket;
      socket.addEventListener("message", ({ data }) => this.told(JSON.parse(data)));
      socket.addEventListener("close", () => this.closed());
      for (const piece of this.pieces) socket.send(piece);
      this.stopButton.disabled = false;
      this.stopButton.focus();
      announce("Listening.");
    } catch (error) {
      this.audio?.end();
      this.startButton.disabled = false;
      throw new Error(refusal(error));
    }
  }

  /** Ends the audio. The result includes the last words. */
  stop() {
    this.audio?.end();
    this.stopButton.disabled = true;
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type: "end" }));
  }

  heard(piece) {
    this.pieces.push(piece);
    this.n += piece.length;
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send(piece);
    this.tell();
  }

  get seconds() {
    return this.n / (this.audio?.rate ?? MAX_RATE);
  }

  tell() {
    const who = [...this.turns.values()].filter((turn) => !turn.settled && turn.end > this.seconds - 2.5).map(({ label }) => this.name(label));
    const speaking = this.speaking && who.length > 0 ? ` – ${[...new Set(who)].join(" and ")}` : "";
    this.status.textContent = `Listening: ${words.time(this.seconds)}${speaking}`;
  }

  told(event) {
    const act = {
      turn: () => {
        if (event.settled && event.start === event.end) this.turns.delete(event.id);
        else this.turns.set(event.id, event);
      },
      speech: () => {
        this.speaking = event.active;
      },
      speaker: () => {
        if (!this.written.has(event.label)) this.names.set(event.label, event.name || event.speaker);
        if (event.speaker) announce(`${event.label} is ${event.name || event.speaker}`);
      },
      merged: () => {
        for (const turn of this.turns.values()) if (turn.label === event.from) turn.label = event.into;
        if (!this.names.get(event.into)) this.names.set(event.into, this.names.get(event.from));
      },
      warning: () => this.message.show("status", h("p", {}, event.message)),
      error: () => this.message.error(event),
      final: () => this.conclude(event),
    }[event.type];
    act?.();
    this.draw();
  }

  /** Shows the result. Its labels differ from the live ones, so each takes the name of the live label with most overlap. */
  conclude({ segments, speakers, audio }) {
    const live = [...this.turns.values()];
    const common = (a, b) => Math.max(0, Math.min(a.end, b.end) - Math.max(a.start, b.start));
    const names = new Map(speakers.map(({ label, name, speaker }) => {
      const mine = segments.filter((segment) => segment.label === label);
      const seconds = new Map();
      for (const turn of live) for (const own of mine) seconds.set(turn.label, (seconds.get(turn.label) ?? 0) + common(turn, own));
      const [most] = [...seconds].sort((a, b) => b[1] - a[1])[0] ?? [];
      return [label, this.written.has(most) ? this.names.get(most) : name || speaker || this.names.get(most)];
    }));
    this.names = names;
    this.turns = new Map(segments.map((segment, id) => [id, { ...segment, settled: true }]));
    this.lanes.replaceChildren();
    this.saves.hidden = segments.length === 0;
    const told = `${words.plural(speakers.length, "speaker")}, ${words.plural(segments.length, "turn")} in ${words.time(audio.duration_seconds)}`;
    this.status.textContent = told;
    announce(told);
  }

  closed() {
    this.audio?.end();
    this.socket = null;
    this.startButton.disabled = false;
    this.stopButton.disabled = true;
    if (this.status.textContent.startsWith("Listening")) this.status.textContent = "The session has ended without its result.";
  }

  name(label) {
    return this.names.get(label)?.trim() || label;
  }

  /** Draws the lanes. Existing lanes are reused, so that the user can edit a name in the meantime. */
  draw() {
    const turns = [...this.turns.values()];
    const length = Math.max(LEAST_SECONDS, this.seconds, ...turns.map(({ end }) => end));
    const labels = [...new Set(turns.map(({ label }) => label))].sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
    const lanes = new Map([...this.lanes.children].map((lane) => [lane.dataset.label, lane]));
    for (const [label, lane] of lanes) if (!labels.includes(label)) lane.remove();
    for (const label of labels) {
      const lane = lanes.get(label) ?? this.lane(label);
      if (!lanes.has(label)) this.lanes.append(lane);
      const mine = turns.filter((turn) => turn.label === label);
      const input = lane.querySelector("input");
      if (document.activeElement !== input) input.value = this.names.get(label) ?? "";
      lane.querySelector(".quiet").textContent = words.seconds(mine.reduce((sum, { start, end }) => sum + end - start, 0));
      const part = (value) => `${(100 * value) / length}%`;
      lane.querySelector(".track").replaceChildren(...mine.map(({ start, end, settled }) => h("span", {
        class: `turn ${colour(Number(label.slice(1)) - 1)}${settled ? "" : " open"}`, style: { left: part(start), width: part(end - start) },
      })));
    }
  }

  lane(label) {
    const input = h("input", { "aria-label": `Name of ${label}`, placeholder: label, maxlength: "200" });
    input.addEventListener("input", () => {
      this.written.add(label);
      this.names.set(label, input.value);
    });
    return h("div", { class: "lane", "data-label": label },
      h("div", { class: "title" }, input, h("span", { class: "quiet" })),
      h("div", { class: "track", role: "img", "aria-label": `Turns of ${label}` }));
  }

  save(ending, type, content) {
    download(`live.${ending}`, type, content);
  }

  /** Returns the turns sorted by their start. */
  sorted() {
    const turns = [...this.turns.values()].sort((a, b) => a.start - b.start);
    return turns.map(({ start, end, label }) => ({ start, end, name: this.name(label) }));
  }

  wav() {
    const header = new DataView(new ArrayBuffer(44));
    const text = (at, value) => [...value].forEach((character, i) => header.setUint8(at + i, character.charCodeAt(0)));
    const { rate } = this.audio;
    text(0, "RIFF");
    header.setUint32(4, 36 + 2 * this.n, true);
    text(8, "WAVEfmt ");
    header.setUint32(16, 16, true);
    header.setUint16(20, 1, true);
    header.setUint16(22, 1, true);
    header.setUint32(24, rate, true);
    header.setUint32(28, 2 * rate, true);
    header.setUint16(32, 2, true);
    header.setUint16(34, 16, true);
    text(36, "data");
    header.setUint32(40, 2 * this.n, true);
    return new Blob([header, ...this.pieces], { type: "audio/wav" });
  }
}

/**
 * Passes on the microphone's samples in 16 bits, a tenth of a second at a time. Returns their rate and a function that
 * ends them.
 */
async function listen(onpiece) {
  const stream = await microphone({ channelCount: 1 });
  let context = new AudioContext();
  if (context.sampleRate > MAX_RATE) {
    await context.close();
    context = new AudioContext({ sampleRate: MAX_RATE });
  }
  const end = () => {
    stream.getTracks().forEach((track) => track.stop());
    if (context.state !== "closed") context.close();
  };
  try {
    await context.audioWorklet.addModule("app/worklet.js");
    const node = new AudioWorkletNode(context, "samples", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => onpiece(new Int16Array(data));
    context.createMediaStreamSource(stream).connect(node);
  } catch (error) {
    end();
    throw error;
  }
  return { rate: context.sampleRate, end };
}
