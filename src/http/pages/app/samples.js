// Voices to try with: three people, and a meeting of theirs with its transcript.

import { worker } from "./dom.js";

const TYPES = { opus: "audio/ogg", json: "application/json" };

/** Two recordings of one person, and one of somebody else. */
export const THREE_VOICES = ["anna-1.opus", "anna-2.opus", "marcus-1.opus"];

/** A meeting of three, and what was said in it. */
export const MEETING = ["meeting.opus", "meeting.json"];

/** The files of the samples. */
export function samples(names) {
  return Promise.all(names.map(async (name) => {
    const response = await fetch(`app/voices/${name}`);
    if (!response.ok) throw new Error("The sample voices are not there.");
    return new File([await response.arrayBuffer()], name, { type: TYPES[name.split(".").pop()] });
  }));
}

/** A button that gives samples to a view, as if they had been dropped there. */
export function sampleButton(text, names, message, onfiles) {
  return worker(text, message, async () => onfiles(await samples(names)));
}
