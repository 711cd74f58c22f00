// The waveform of a recording.

const N_BUCKETS = 600;

/** A larger file may last for hours. Decoding it would take too much memory for a waveform. */
const MAX_BYTES = 20 << 20;

/**
 * Decodes a recording and resolves to its length and the loudest sample of each bucket, or null if the browser cannot
 * decode it.
 */
export function shapeOf(file) {
  // Files are decoded one at a time, because each takes a lot of memory.
  last = last.then(() => decoded(file));
  return last;
}

let last = Promise.resolve();

async function decoded(file) {
  if (file.size > MAX_BYTES) return null;
  try {
    const context = new OfflineAudioContext(1, 1, 16_000);
    const audio = await context.decodeAudioData(await file.arrayBuffer());
    const peaks = new Float32Array(N_BUCKETS);
    for (let channel = 0; channel < audio.numberOfChannels; channel += 1) {
      const samples = audio.getChannelData(channel);
      for (let i = 0; i < samples.length; i += 1) {
        const bucket = Math.floor((i * N_BUCKETS) / samples.length);
        peaks[bucket] = Math.max(peaks[bucket], Math.abs(samples[i]));
      }
    }
    return { peaks, seconds: audio.duration };
  } catch {
    return null;
  }
}

/** The waveforms on the page, which are redrawn when the colours change. */
const shown = new Set();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shown.forEach((waveform) => waveform.draw()));

/** A canvas with a waveform. It shows `stretches`, each `[start, end]` in seconds, as speech. A click reports its time. */
export class Waveform {
  constructor(label, onseek) {
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", label);
    this.canvas.className = "waveform";
    this.shape = null;
    this.stretches = null;
    this.at = 0;
    this.canvas.addEventListener("click", (event) => {
      const box = this.canvas.getBoundingClientRect();
      if (this.shape) onseek(((event.clientX - box.left) / box.width) * this.shape.seconds);
    });
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    shown.add(this);
  }

  set(changes) {
    Object.assign(this, changes);
    this.draw();
  }

  forget() {
    shown.delete(this);
  }

  draw() {
    const { canvas, shape } = this;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (!width || !shape) return;
    const scale = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [width * scale, height * scale];
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const isSpeech = (second) => !this.stretches || this.stretches.some(([start, end]) => second >= start && second < end);
    const loudest = Math.max(0.05, ...shape.peaks);
    for (let x = 0; x < width; x += 2) {
      const place = x / width;
      const peak = shape.peaks[Math.floor(place * shape.peaks.length)] / loudest;
      const length = Math.max(1, peak * height * 0.9);
      context.fillStyle = colour(isSpeech(place * shape.seconds) ? "--accent" : "--faint");
      context.fillRect(x, (height - length) / 2, 1.4, length);
    }
    context.fillStyle = colour("--text");
    if (this.at > 0) context.fillRect((this.at / shape.seconds) * width, 0, 1.5, height);
  }
}
