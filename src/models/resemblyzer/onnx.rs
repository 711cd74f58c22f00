//! The encoder as an ONNX file: the few protobuf messages that it takes, in one fixed order, so that the same weights always
//! give the same bytes, and a file that gives back its own bytes is known to hold this graph and no other.
//!
//! Source of the field numbers: `onnx.proto` of ONNX 1.12 (IR version 8, opset 17).

use super::hparams::{INPUT_NAME, N_FRAMES, OUTPUT_NAME};
use crate::encoder::EncoderError;
use crate::encoder::native::{
    EMBEDDING_DIM, EncoderWeights, HIDDEN_UNITS, LSTM_LAYERS, LinearWeights, LstmWeights, N_MELS,
};

const IR_VERSION: u64 = 8;
const OPSET_VERSION: u64 = 17;
const ELEM_TYPE_FLOAT: u64 = 1;
const ATTRIBUTE_TYPE_INT: u64 = 2;
const ATTRIBUTE_TYPE_INTS: u64 = 7;

/// The encoder's ONNX file: `mels [n, 160, 40]` -> LSTM layers -> last hidden state -> linear -> ReLU -> L2 norm ->
/// `embeds [n, 256]`.
pub fn write(weights: &EncoderWeights) -> Vec<u8> {
    let mut model = Message::default();
    model.varint(1, IR_VERSION);
    model.string(2, env!("CARGO_PKG_NAME"));
    model.message(7, &encoder_graph(&weights.layers, &weights.linear));
    let mut opset = Message::default();
    opset.varint(2, OPSET_VERSION);
    model.message(8, &opset);
    for (key, value) in &weights.metadata {
        let mut entry = Message::default();
        entry.string(1, key);
        entry.string(2, value);
        model.message(14, &entry);
    }
    model.0
}

/// Reads such a file. One of any other graph, even of the same weights, is refused.
pub fn read(file: &[u8]) -> Result<EncoderWeights, EncoderError> {
    let other = |reason: &str| EncoderError::OtherModel(format!("{reason}; ENCODER=ort runs other graphs"));
    let weights = find_weights(file).ok_or_else(|| other("its weights are not where they should be"))?;
    if !floats(&weights).all(|weight| weight.is_finite()) {
        return Err(other("it has weights that are not finite"));
    }
    if write(&weights) != file {
        return Err(other("its graph is not the one that `model convert` writes"));
    }
    Ok(weights)
}

fn floats(weights: &EncoderWeights) -> impl Iterator<Item = &f32> {
    let layers = weights.layers.iter().flat_map(|layer| [&layer.input, &layer.recurrent, &layer.bias]);
    layers.chain([&weights.linear.weight, &weights.linear.bias]).flatten()
}

/// The weights by their names, as long as they should be, and the metadata.
fn find_weights(file: &[u8]) -> Option<EncoderWeights> {
    let graph = fields(file, 7).next()?;
    let weights = |name: String, len: usize| {
        let tensor = fields(graph, 5).find(|tensor| fields(tensor, 8).eq([name.as_bytes()]))?;
        let (values, rest) = fields(tensor, 9).next()?.as_chunks();
        let values: Vec<f32> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        (values.len() == len && rest.is_empty()).then_some(values)
    };
    let layer = |i: usize| {
        let n_inputs = if i == 0 { N_MELS } else { HIDDEN_UNITS };
        Some(LstmWeights {
            input: weights(format!("layer{i}_w"), 4 * HIDDEN_UNITS * n_inputs)?,
            recurrent: weights(format!("layer{i}_r"), 4 * HIDDEN_UNITS * HIDDEN_UNITS)?,
            bias: weights(format!("layer{i}_b"), 8 * HIDDEN_UNITS)?,
        })
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let metadata = fields(file, 14)
        .map(|entry| Some((text(fields(entry, 1).next()?)?, text(fields(entry, 2).next()?)?)));
    Some(EncoderWeights {
        layers: (0..LSTM_LAYERS).map(layer).collect::<Option<_>>()?,
        linear: LinearWeights {
            weight: weights("linear_weight".into(), EMBEDDING_DIM * HIDDEN_UNITS)?,
            bias: weights("linear_bias".into(), EMBEDDING_DIM)?,
        },
        metadata: metadata.collect::<Option<_>>()?,
    })
}

/// Fields of one number in a protobuf message that are strings, bytes or messages; it ends where the message is damaged.
fn fields(message: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    let mut rest = message;
    std::iter::from_fn(move || {
        loop {
            let tag = read_varint(&mut rest)?;
            match tag & 7 {
                0 => drop(read_varint(&mut rest)?),
                2 => {
                    let len = usize::try_from(read_varint(&mut rest)?).ok()?;
                    let (value, after) = rest.split_at_checked(len)?;
                    rest = after;
                    if tag >> 3 == wanted {
                        return Some(value);
                    }
                }
                _ => return None,
            }
        }
    })
}

fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Nodes first, then initializers, then input and output.
///
/// 1. `mels` to the LSTM's layout `[frames, n, mels]`.
/// 2. The layers; all hidden states of one are the next one's input, without the axis for directions.
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
    graph.message(5, &axis_tensor("axis_0", 0));
    graph.message(5, &axis_tensor("axis_1", 1));

    graph.message(11, &value_info(INPUT_NAME, &[N_FRAMES, N_MELS]));
    graph.message(12, &value_info(OUTPUT_NAME, &[EMBEDDING_DIM]));
    graph
}

/// A protobuf message in the making. Fields are written in the order of the calls.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, field: u64, value: u64) {
        self.raw_varint(field << 3);
        self.raw_varint(value);
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.raw_varint(field << 3 | 2);
        self.raw_varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn string(&mut self, field: u64, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    fn message(&mut self, field: u64, value: &Message) {
        self.bytes(field, &value.0);
    }

    /// Seven bits a byte, the lowest first; the top bit says that more follow.
    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

fn node(op_type: &str, inputs: &[&str], outputs: &[&str], attributes: &[Message]) -> Message {
    let mut node = Message::default();
    inputs.iter().for_each(|name| node.string(1, name));
    outputs.iter().for_each(|name| node.string(2, name));
    node.string(4, op_type);
    attributes.iter().for_each(|attribute| node.message(5, attribute));
    node
}

fn int(name: &str, value: u64) -> Message {
    let mut attribute = Message::default();
    attribute.string(1, name);
    attribute.varint(3, value);
    attribute.varint(20, ATTRIBUTE_TYPE_INT);
    attribute
}

fn ints(name: &str, values: &[u64]) -> Message {
    let mut attribute = Message::default();
    attribute.string(1, name);
    values.iter().for_each(|value| attribute.varint(8, *value));
    attribute.varint(20, ATTRIBUTE_TYPE_INTS);
    attribute
}

fn float_tensor(name: &str, shape: &[usize], values: &[f32]) -> Message {
    debug_assert_eq!(shape.iter().product::<usize>(), values.len());
    let data: Vec<[u8; 4]> = values.iter().map(|value| value.to_le_bytes()).collect();
    tensor(name, shape, ELEM_TYPE_FLOAT, data.as_flattened())
}

/// The one-element list of axes that `Squeeze` takes as an input.
fn axis_tensor(name: &str, axis: i64) -> Message {
    const ELEM_TYPE_INT64: u64 = 7;
    tensor(name, &[1], ELEM_TYPE_INT64, &axis.to_le_bytes())
}

fn tensor(name: &str, shape: &[usize], elem_type: u64, data: &[u8]) -> Message {
    let mut tensor = Message::default();
    shape.iter().for_each(|dim| tensor.varint(1, *dim as u64));
    tensor.varint(2, elem_type);
    tensor.string(8, name);
    tensor.bytes(9, data);
    tensor
}

/// A graph input or output: `f32`, `n` windows by the given shape.
fn value_info(name: &str, shape_of_one: &[usize]) -> Message {
    let mut shape = Message::default();
    let mut n = Message::default();
    n.string(2, "n");
    shape.message(1, &n);
    for size in shape_of_one {
        let mut dim = Message::default();
        dim.varint(1, *size as u64);
        shape.message(1, &dim);
    }
    let mut tensor_type = Message::default();
    tensor_type.varint(1, ELEM_TYPE_FLOAT);
    tensor_type.message(2, &shape);
    let mut value_type = Message::default();
    value_type.message(1, &tensor_type);
    let mut info = Message::default();
    info.string(1, name);
    info.message(2, &value_type);
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bound that each row's scale is chosen for, with the real weights.
    #[test]
    fn no_sum_of_the_real_weights_can_overflow() {
        let file = std::fs::read("models/resemblyzer.onnx").unwrap();
        let largest = read(&file).unwrap().largest_sum();
        assert!(largest <= i64::from(i32::MAX), "{largest}");
        // Nor is the room wasted.
        assert!(largest as f64 > 0.99 * f64::from(i32::MAX), "{largest}");
    }
}
