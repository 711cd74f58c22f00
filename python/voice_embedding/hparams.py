"""The parameters of Resemblyzer's encoder, with their original names."""

# The mel spectrogram.
mel_window_length = 25  # milliseconds
mel_window_step = 10  # milliseconds
mel_n_channels = 40

# Audio.
sampling_rate = 16000
partials_n_frames = 160  # 1.6 seconds

# Voice detection.
vad_window_length = 30  # milliseconds
vad_moving_average_width = 8  # windows
vad_max_silence_length = 6  # windows

# The level to which quieter recordings are raised.
audio_norm_target_dBFS = -30

# The network.
model_hidden_size = 256
model_embedding_size = 256
model_num_layers = 3
