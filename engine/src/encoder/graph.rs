//! The input and output of an encoder's graph.

/// Input and output of an encoder's ONNX graph, both `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Name of the input, `[units, n_frames, n_bands]`.
    pub input: &'static str,
    /// Frames of a unit, if all have as many.
    pub n_frames: Option<usize>,
    /// Bands of a frame.
    pub n_bands: usize,
    /// Name of the output, `[units, dimension]`.
    pub output: &'static str,
    /// Components of a unit's embedding.
    pub dimension: usize,
}
