// Converts the microphone's samples to 16 bits and sends them to the page in pieces of a tenth of a second.

class Samples extends AudioWorkletProcessor {
  constructor() {
    super();
    this.piece = new Int16Array(Math.round(sampleRate / 10));
    this.n = 0;
  }

  process([[samples]]) {
    for (const sample of samples ?? []) {
      this.piece[this.n] = Math.max(-32768, Math.min(32767, Math.round(sample * 32767)));
      this.n += 1;
      if (this.n === this.piece.length) {
        this.port.postMessage(this.piece.buffer.slice(0));
        this.n = 0;
      }
    }
    return true;
  }
}

registerProcessor("samples", Samples);
