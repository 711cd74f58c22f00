// Sample voices: three people, and a meeting between them with its transcript.

import { worker } from "./dom.js";

const TYPES = { opus: "audio/ogg", json: "application/json" };

/** Two recordings of one person and one of another. */
export const THREE_VOICES = ["anna-1.opus", "anna-2.opus", "marcus-1.opus"];

/** A meeting of three people, and its transcript. */
export const MEETING = ["meeting.opus", "meeting.json"];

/** Fetches the sample files. */
export function samples(names) {
  return Promise.all(names.map(async (name) => {
    const response = await fetch(`app/voices/${name}`);
    if (!response.ok) throw new Error("The sample voices are not there.");
    return new File([await response.arrayBuffer()], name, { type: TYPES[name.split(".").pop()] });
  }));
}

/** Creates a button that passes samples to a view, as if the user had dropped them there. */
export function sampleButton(text, names, message, onfiles) {
  return worker(text, message, async () => onfiles(await samples(names)));
}
