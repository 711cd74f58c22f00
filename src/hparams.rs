//! Every number of the model. Sources: `hparams.py`, `audio.py` and `voice_encoder.py` of resemblyzer 0.1.4.

/// Rate the encoder was trained at, in Hz (`sampling_rate`).
pub const SAMPLE_RATE_HZ: u32 = 16_000;

/// Level that quieter recordings are raised to, in dB relative to full scale, as RMS (`audio_norm_target_dBFS`).
pub const TARGET_LEVEL_DBFS: f64 = -30.0;

/// Samples the voice detector judges at once: 30 ms (`vad_window_length`).
pub const VAD_WINDOW_SAMPLES: usize = 480;

/// Detector windows averaged to smooth its flags (`vad_moving_average_width`).
pub const VAD_MOVING_AVERAGE_WINDOWS: usize = 8;

/// Detector windows of silence that may stay between two voiced ones (`vad_max_silence_length`).
pub const VAD_MAX_SILENCE_WINDOWS: usize = 6;

/// Samples under one spectrogram frame, which is also the FFT's length: 25 ms (`mel_window_length`).
pub const FRAME_SAMPLES: usize = 400;

/// Samples between two spectrogram frames: 10 ms (`mel_window_step`).
pub const HOP_SAMPLES: usize = 160;

/// Mel bands of a frame (`mel_n_channels`).
pub const N_MELS: usize = 40;

/// Frames of one encoder window: 1.6 s (`partials_n_frames`).
pub const WINDOW_FRAMES: usize = 160;

/// Frames between the starts of two encoder windows: 16,000 Hz / 1.3 windows/s / 160 samples, rounded
/// (`rate` of `embed_utterance`).
pub const WINDOW_STEP_FRAMES: usize = 77;

/// Share of the last encoder window that audio must cover for it to count (`min_coverage` of `embed_utterance`).
pub const MIN_WINDOW_COVERAGE: f64 = 0.75;

/// Hidden units of each LSTM layer (`model_hidden_size`).
pub const HIDDEN_UNITS: usize = 256;

/// LSTM layers (`model_num_layers`).
pub const LSTM_LAYERS: usize = 3;

/// Components of an embedding (`model_embedding_size`).
pub const EMBEDDING_DIM: usize = 256;

/// Cosine similarity above which two embeddings are called the same speaker, unless a request or the
/// configuration says otherwise (the Python service's threshold).
pub const SAME_SPEAKER_THRESHOLD: f64 = 0.75;
