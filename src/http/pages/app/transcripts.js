// Reads and writes files with speakers and times, and replaces names in them.

/** Returns the cues of VTT or SRT as parts of a transcript, or null for other texts. */
export function partsOf(text) {
  const seconds = (stamp) => stamp.replace(",", ".").split(":").reduce((sum, part) => 60 * sum + Number(part), 0);
  const parts = text.split(/\r?\n\s*\r?\n/).map((block) => {
    const lines = block.trim().split(/\r?\n/);
    const at = lines.findIndex((line) => line.includes("-->"));
    if (at < 0) return null;
    const [start, end] = lines[at].split("-->").map((stamp) => seconds(stamp.trim().split(/\s/)[0]));
    const said = lines.slice(at + 1).join(" ");
    const voice = said.match(/^<v(?:\.[^ >]*)? ([^>]*)>/);
    const [, speaker, rest] = voice ? [null, voice[1], said.slice(voice[0].length)] : said.match(/^([^:<]{1,80}): (.*)$/) ?? [null, null, said];
    const plain = new DOMParser().parseFromString(rest, "text/html").body.textContent;
    return { start, end, speaker: speaker && new DOMParser().parseFromString(speaker, "text/html").body.textContent, text: plain };
  });
  const found = parts.filter((part) => part && Number.isFinite(part.start));
  return found.length > 0 ? found : null;
}

const inRttm = (name) => name.replaceAll(/\s/g, "_");
const escaped = (name) => name.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** Writes turns, each `{ start, end, name }`, as RTTM of a recording. */
export function rttm(recording, turns) {
  const line = ({ start, end, name }) => `SPEAKER ${recording} 1 ${start.toFixed(3)} ${(end - start).toFixed(3)} <NA> <NA> ${inRttm(name)} <NA> <NA>\n`;
  return turns.map(line).join("");
}

/** Writes turns as VTT. */
export function vtt(turns) {
  const stamp = (seconds) => new Date(Math.round(seconds * 1000)).toISOString().slice(11, 23);
  const cue = ({ start, end, name }) => `${stamp(start)} --> ${stamp(end)}\n<v ${escaped(name)}>${escaped(name)}\n\n`;
  return `WEBVTT\n\n${turns.map(cue).join("")}`;
}

/** Replaces names in a file of the service. `names` maps the service's names to the new ones. */
export function replaceNames(text, format, names) {
  const other = (form) => new Map([...names].map(([from, to]) => [form(from), form(to)]));
  const inSrt = other((name) => name.replaceAll("-->", "→"));
  const forms = {
    rttm: () => {
      const of = other(inRttm);
      return text.replaceAll(/^((?:\S+ ){7})(\S+)/gm, (all, before, name) => before + (of.get(name) ?? name));
    },
    vtt: () => {
      const of = other(escaped);
      const voice = (all, name, rest) => (of.has(name) ? `<v ${of.get(name)}>${rest === name ? of.get(name) : rest}` : all);
      return text.replaceAll(/^<v ([^>]*)>(.*)$/gm, voice);
    },
    // The first line of a cue is the name, or starts with it.
    srt: () => text.replaceAll(/( --> .*\n)([^:\n]+)(:.*)?$/gm, (all, before, name, rest) => (inSrt.has(name) ? before + inSrt.get(name) + (rest ?? "") : all)),
  };
  return forms[format]();
}
