// The false-accept rate at a similarity, with the formula of docs/accuracy.md, "The file".

const FULL_WINDOW_SECONDS = 1.6;

function terms(similarity, a, b, { seconds_min, seconds_max }) {
  const limited = (seconds) => Math.min(Math.max(seconds, seconds_min), seconds_max);
  const padding = (seconds) => Math.max(0, 1 - seconds / FULL_WINDOW_SECONDS);
  const h = 2 / (1 / limited(a) + 1 / limited(b));
  const lnH = Math.log(h);
  return {
    1: 1, s: similarity, "ln h": lnH, "ln h^2": lnH * lnH, "s*ln h": similarity * lnH, "1/h": 1 / h,
    pp: padding(a) * padding(b), pd: Math.abs(padding(a) - padding(b)),
  };
}

const sum = (linear, of) => Object.entries(linear).reduce((total, [term, factor]) => total + factor * of[term], 0);

/** Returns the false-accept rate at a similarity for these seconds of speech, and whether it is only an upper bound. */
export function falseAcceptRate(calibration, similarity, a, b) {
  const { mean, ln_sd, knots } = calibration.false_accept_rate;
  const of = terms(similarity, a, b, calibration.limits);
  const z = (similarity - sum(mean, of)) / Math.exp(sum(ln_sd, of));
  const rate = rateAt(z, knots.z, knots.far.map(Math.log));
  const floor = calibration.limits.far_floor;
  return { rate: Math.max(rate, floor), isBound: rate < floor };
}

function rateAt(z, zs, lns) {
  if (z < zs[0]) return 1;
  const last = zs.length - 1;
  const above = zs.findIndex((knot) => z < knot);
  const [from, to] = above < 0 ? [last - 3, last] : [above - 1, above];
  return Math.exp(lns[from] + ((z - zs[from]) / (zs[to] - zs[from])) * (lns[to] - lns[from]));
}
