//! The encoder as an ONNX file. The same weights always give the same bytes. If the weights in a file reproduce its
//! bytes, the file holds this graph and no other.

use super::hparams::{INPUT_NAME, N_FRAMES, OUTPUT_NAME};
use crate::encoder::EncoderError;
use crate::encoder::native::{
    EMBEDDING_DIM, EncoderWeights, HIDDEN_UNITS, LSTM_LAYERS, LinearWeights, LstmWeights, N_MELS,
    NetworkWeights,
};
use crate::models::onnx::{
    Dim, Message, Stored, file, float_tensor, int, int64_tensor, ints, node, value_info,
};

/// Writes the encoder's ONNX file: `mels [n, 160, 40]` -> LSTM layers -> last hidden state -> linear -> ReLU ->
/// L2 norm -> `embeds [n, 256]`.
pub fn write(weights: &EncoderWeights) -> Vec<u8> {
    file(&encoder_graph(&weights.layers, &weights.linear), &weights.metadata)
}

/// Reads such a file. Rejects any other graph, even one with the same weights.
pub fn read(onnx: &[u8]) -> Result<NetworkWeights, EncoderError> {
    let stored = Stored::from_file(onnx);
    let weights = find_weights(&stored)
        .ok_or_else(|| EncoderError::other_graph("its weights are not where they should be"))?;
    stored.check_graph(&encoder_graph(&weights.layers, &weights.linear), &weights.metadata)?;
    Ok(NetworkWeights::Lstm(weights))
}

/// Finds the weights by their names, checks their lengths and reads the metadata.
fn find_weights(stored: &Stored<'_>) -> Option<EncoderWeights> {
    let weights = |name: String, len: usize| stored.floats(&name).ok().filter(|values| values.len() == len);
    let layer = |i: usize| {
        let n_inputs = if i == 0 { N_MELS } else { HIDDEN_UNITS };
        Some(LstmWeights {
            input: weights(format!("layer{i}_w"), 4 * HIDDEN_UNITS * n_inputs)?,
            recurrent: weights(format!("layer{i}_r"), 4 * HIDDEN_UNITS * HIDDEN_UNITS)?,
            bias: weights(format!("layer{i}_b"), 8 * HIDDEN_UNITS)?,
        })
    };
    Some(EncoderWeights {
        layers: (0..LSTM_LAYERS).map(layer).collect::<Option<_>>()?,
        linear: LinearWeights {
            weight: weights("linear_weight".into(), EMBEDDING_DIM * HIDDEN_UNITS)?,
            bias: weights("linear_bias".into(), EMBEDDING_DIM)?,
        },
        metadata: stored.metadata().ok()?,
    })
}

/// Builds the graph: nodes first, then initializers, then input and output.
///
/// 1. Transpose `mels` to the LSTM's layout `[frames, n, mels]`.
/// 2. The layers. All hidden states of a layer are the next layer's input, without the axis for directions.
/// 3. The last hidden state of the last layer, linear, ReLU, L2 norm.
fn encoder_graph(layers: &[LstmWeights], linear: &LinearWeights) -> Message {
    let mut graph = Message::default();
    graph.message(1, &node("Transpose", &[INPUT_NAME], &["layer0_x"], &[ints("perm", &[1, 0, 2])]));
    for i in 0..layers.len() {
        let inputs =
            [format!("layer{i}_x"), format!("layer{i}_w"), format!("layer{i}_r"), format!("layer{i}_b")];
        let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
        let hidden_size = int("hidden_size", HIDDEN_UNITS as u64);
        if i + 1 < layers.len() {
            let states = format!("layer{i}_y");
            graph.message(1, &node("LSTM", &inputs, &[&states], &[hidden_size]));
            graph.message(1, &node("Squeeze", &[&states, "axis_1"], &[&format!("layer{}_x", i + 1)], &[]));
        } else {
            graph.message(1, &node("LSTM", &inputs, &["", "last_hidden"], &[hidden_size]));
        }
    }
    graph.message(1, &node("Squeeze", &["last_hidden", "axis_0"], &["hidden"], &[]));
    let linear_inputs = ["hidden", "linear_weight", "linear_bias"];
    graph.message(1, &node("Gemm", &linear_inputs, &["linear"], &[int("transB", 1)]));
    graph.message(1, &node("Relu", &["linear"], &["relu"], &[]));
    graph.message(1, &node("LpNormalization", &["relu"], &[OUTPUT_NAME], &[int("axis", 1), int("p", 2)]));
    graph.string(2, "speaker_encoder");

    for (i, layer) in layers.iter().enumerate() {
        let n_inputs = layer.input.len() / (4 * HIDDEN_UNITS);
        graph.message(
            5,
            &float_tensor(&format!("layer{i}_w"), &[1, 4 * HIDDEN_UNITS, n_inputs], &layer.input),
        );
        let shape = [1, 4 * HIDDEN_UNITS, HIDDEN_UNITS];
        graph.message(5, &float_tensor(&format!("layer{i}_r"), &shape, &layer.recurrent));
        graph.message(5, &float_tensor(&format!("layer{i}_b"), &[1, 8 * HIDDEN_UNITS], &layer.bias));
    }
    graph.message(5, &float_tensor("linear_weight", &[EMBEDDING_DIM, HIDDEN_UNITS], &linear.weight));
    graph.message(5, &float_tensor("linear_bias", &[EMBEDDING_DIM], &linear.bias));
    graph.message(5, &int64_tensor("axis_0", &[1], &[0]));
    graph.message(5, &int64_tensor("axis_1", &[1], &[1]));

    graph.message(11, &value_info(INPUT_NAME, &[Dim::Any("n"), Dim::Size(N_FRAMES), Dim::Size(N_MELS)]));
    graph.message(12, &value_info(OUTPUT_NAME, &[Dim::Any("n"), Dim::Size(EMBEDDING_DIM)]));
    graph
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks, with the real weights, the bound that each row's scale is chosen for.
    #[test]
    fn no_sum_of_the_real_weights_can_overflow() {
        let file = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/resemblyzer.onnx")).unwrap();
        let NetworkWeights::Lstm(weights) = read(&file).unwrap() else { panic!("it is an LSTM") };
        let largest = weights.largest_sum();
        assert!(largest <= i64::from(i32::MAX), "{largest}");
        // The weights also use nearly all of the available range.
        assert!(largest as f64 > 0.99 * f64::from(i32::MAX), "{largest}");
    }
}
