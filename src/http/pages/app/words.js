// Numbers and codes as text for users.

const WARNINGS = {
  short_speech: "little speech: less than 1.6 seconds",
  narrowband: "telephone quality",
  clipped: "too loud (clipped)",
  low_level: "very quiet: mostly noise",
  truncated: "the file is cut short",
  noise: "sounds like noise, not like a voice",
  several_speakers: "more than one speaker",
  level_mismatch: "the two are of different levels",
};

export const warning = (code) => WARNINGS[code] ?? code;

export const seconds = (value) => `${value.toFixed(1)} s`;

/** Formats a time as minutes and seconds with tenths. */
export function time(value) {
  const tenths = Math.round(value * 10);
  const minutes = Math.floor(tenths / 600);
  return `${minutes}:${((tenths - 600 * minutes) / 10).toFixed(1).padStart(4, "0")}`;
}

export const similarity = (value) => value.toFixed(2);

/** Formats a rate: `about 1 in 240`, `at most 1 in 1000`, `about 37 in 100`. */
export function frequency(rate, isBound) {
  const about = isBound ? "at most" : "about";
  if (rate > 0.2) return `${about} ${Math.round(rate * 100)} in 100`;
  const oneIn = 1 / rate;
  return `${about} 1 in ${oneIn < 100 ? Math.round(oneIn) : Math.round(oneIn / 10) * 10}`;
}

export const plural = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

const listed = (names) => (names.length < 3 ? names.join(" and ") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`);

/** Describes groups of names: `a and b are the same person; c is somebody else.` */
export function samePeople(groups) {
  const several = groups.filter((group) => group.length > 1);
  const alone = groups.filter((group) => group.length === 1).flat();
  if (several.length === 0) return `${listed(alone)} are ${alone.length === 2 ? "two" : alone.length} different people.`;
  if (alone.length === 0 && several.length === 1) return `${listed(several[0])} are the same person.`;
  const same = several.map((group) => `${listed(group)} are the same person`);
  const others = alone.length === 0 ? [] : [alone.length === 1 ? `${alone[0]} is somebody else` : `${listed(alone)} are ${alone.length} other people`];
  return `${[...same, ...others].join("; ")}.`;
}

export const date = (iso) => new Date(iso).toLocaleDateString(undefined, { dateStyle: "medium" });
