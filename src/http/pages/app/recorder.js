// Recording from the microphone.

import { button, dialog, h, Message } from "./dom.js";

/** Seconds of speech beyond which more speech helps little. */
const USEFUL_SECONDS = 10;

/** The interval between two measurements of the level. */
const TICK_SECONDS = 0.05;

/** A level (root mean square) that is not speech in any room. */
const SILENCE = 0.003;

/** The ratio of the level of speech to the level of the room. */
const OVER_ROOM = 3;

/** A text that takes about ten seconds to read. */
const EXAMPLE = "This morning I walked along the river, counted nine small boats, bought a loaf of warm bread, and met an old friend who asked me how I was.";

const REFUSALS = {
  NotAllowedError: "The browser does not let this page use the microphone. Allow it (beside the address), then record again.",
  NotFoundError: "There is no microphone.",
  NotReadableError: "Another program uses the microphone.",
};

/** Returns the reason why the microphone cannot be used. */
export const refusal = (error) => REFUSALS[error.name] ?? error.message;

/** Opens the microphone without processing, because the processing for calls changes the voice. */
export function microphone(more = {}) {
  if (!navigator.mediaDevices) throw new Error("Browsers record on HTTPS and on localhost alone.");
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, ...more };
  return navigator.mediaDevices.getUserMedia({ audio });
}

let n_recordings = 0;

/** Records until the user stops. Resolves to a file or null. */
export function record() {
  const taking = {};
  return dialog("Record a voice", (close, element) => {
    element.addEventListener("close", () => taking.end?.());
    const message = new Message();
    const level = h("meter", { min: 0, max: 1, value: 0, "aria-label": "Level" });
    const told = h("p", { role: "timer" }, "Waiting for the microphone …");
    const enough = h("p", { class: "hidden", role: "status" });
    const stop = button("Use recording", () => taking.recorder.stop(), { disabled: true });
    begin(taking, { level, told, enough, stop }, close).catch((error) => {
      told.hidden = true;
      message.show("error", h("p", {}, refusal(error)));
    });
    return [h("p", {}, "For example, read: ", h("q", {}, EXAMPLE)), told, enough, level, message.element, h("p", { class: "actions" }, button("Cancel", () => close(null)), stop)];
  });
}

async function begin(taking, { level, told, enough, stop }, close) {
  let hasEnded = false;
  taking.end = () => {
    hasEnded = true;
  };
  const stream = await microphone();
  taking.end = () => stream.getTracks().forEach((track) => track.stop());
  if (hasEnded) return taking.end();
  const recorder = new MediaRecorder(stream);
  const pieces = [];
  recorder.addEventListener("dataavailable", ({ data }) => pieces.push(data));
  recorder.addEventListener("stop", () => {
    n_recordings += 1;
    const type = recorder.mimeType.split(";")[0];
    close(new File(pieces, `recording-${n_recordings}.${type.split("/")[1] || "webm"}`, { type }));
  });
  taking.recorder = recorder;
  const context = new AudioContext();
  const timer = meter(context, stream, (value, speech) => {
    level.value = value;
    const left = Math.max(0, USEFUL_SECONDS - speech);
    told.textContent = left > 0
      ? `Speak: ${speech.toFixed(1)} s of speech so far, ${left.toFixed(1)} s more are useful.`
      : `${speech.toFixed(1)} s of speech: that is plenty.`;
    if (left === 0 && !enough.textContent) enough.textContent = "That is plenty of speech.";
  });
  const silence = taking.end;
  taking.end = () => {
    clearInterval(timer);
    context.close();
    silence();
  };
  recorder.start();
  stop.disabled = false;
  stop.focus();
  return undefined;
}

/** Reports the level and the seconds of speech so far. */
function meter(context, stream, tell) {
  const analyser = context.createAnalyser();
  context.createMediaStreamSource(stream).connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  let [room, speech] = [1, 0];
  return setInterval(() => {
    analyser.getFloatTimeDomainData(samples);
    const level = Math.sqrt(samples.reduce((total, sample) => total + sample * sample, 0) / samples.length);
    room = Math.min(room * 1.01, Math.max(level, SILENCE));
    if (level > OVER_ROOM * room || level > 0.05) speech += TICK_SECONDS;
    // A scale in decibels that starts at -60.
    tell(Math.max(0, 1 + Math.log10(level + 1e-9) / 3), speech);
  }, TICK_SECONDS * 1000);
}
