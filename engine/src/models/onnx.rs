//! ONNX files, limited to the protobuf messages that the models need. Fields are written in the order of the calls, so
//! that equal contents give equal bytes.
//!
//! Source of the field numbers: `onnx.proto` of ONNX 1.12 (IR version 8, opset 17).

use std::collections::HashMap;

use half::f16;

use super::error::ConvertError;
use crate::encoder::EncoderError;

const IR_VERSION: u64 = 8;
const OPSET_VERSION: u64 = 17;

pub(super) const ELEM_TYPE_FLOAT: u64 = 1;
const ELEM_TYPE_INT64: u64 = 7;
const ELEM_TYPE_FLOAT16: u64 = 10;

const ATTRIBUTE_TYPE_FLOAT: u64 = 1;
const ATTRIBUTE_TYPE_INT: u64 = 2;
const ATTRIBUTE_TYPE_STRING: u64 = 3;
const ATTRIBUTE_TYPE_INTS: u64 = 7;

/// The producer that files name. The native encoder only accepts files that match to the last byte.
const PRODUCER: &str = "voice-embedding-service";

/// Encodes a graph and its metadata as a file.
pub(super) fn file(graph: &Message, metadata: &[(String, String)]) -> Vec<u8> {
    let mut model = Message::default();
    model.varint(1, IR_VERSION);
    model.string(2, PRODUCER);
    model.message(7, graph);
    let mut opset = Message::default();
    opset.varint(2, OPSET_VERSION);
    model.message(8, &opset);
    for (key, value) in metadata {
        let mut entry = Message::default();
        entry.string(1, key);
        entry.string(2, value);
        model.message(14, &entry);
    }
    model.0
}

/// A protobuf message under construction. Fields are written in the order of the calls.
#[derive(Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn varint(&mut self, field: u64, value: u64) {
        self.raw_varint(field << 3);
        self.raw_varint(value);
    }

    fn fixed32(&mut self, field: u64, value: [u8; 4]) {
        self.raw_varint(field << 3 | 5);
        self.0.extend_from_slice(&value);
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.raw_varint(field << 3 | 2);
        self.raw_varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    pub(super) fn string(&mut self, field: u64, value: &str) {
        self.bytes(field, value.as_bytes());
    }

    pub(super) fn message(&mut self, field: u64, value: &Message) {
        self.bytes(field, &value.0);
    }

    /// Writes seven bits per byte, the lowest first. The top bit of a byte means that more bytes follow.
    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

pub(super) fn node(op_type: &str, inputs: &[&str], outputs: &[&str], attributes: &[Message]) -> Message {
    let mut node = Message::default();
    inputs.iter().for_each(|name| node.string(1, name));
    outputs.iter().for_each(|name| node.string(2, name));
    node.string(4, op_type);
    attributes.iter().for_each(|attribute| node.message(5, attribute));
    node
}

pub(super) fn float(name: &str, value: f32) -> Message {
    let mut attribute = Message::default();
    attribute.string(1, name);
    attribute.fixed32(2, value.to_le_bytes());
    attribute.varint(20, ATTRIBUTE_TYPE_FLOAT);
    attribute
}

pub(super) fn int(name: &str, value: u64) -> Message {
    let mut attribute = Message::default();
    attribute.string(1, name);
    attribute.varint(3, value);
    attribute.varint(20, ATTRIBUTE_TYPE_INT);
    attribute
}

pub(super) fn text(name: &str, value: &str) -> Message {
    let mut attribute = Message::default();
    attribute.string(1, name);
    attribute.string(4, value);
    attribute.varint(20, ATTRIBUTE_TYPE_STRING);
    attribute
}

pub(super) fn ints(name: &str, values: &[u64]) -> Message {
    let mut attribute = Message::default();
    attribute.string(1, name);
    values.iter().for_each(|value| attribute.varint(8, *value));
    attribute.varint(20, ATTRIBUTE_TYPE_INTS);
    attribute
}

pub(super) fn float_tensor(name: &str, shape: &[usize], values: &[f32]) -> Message {
    debug_assert_eq!(shape.iter().product::<usize>(), values.len());
    let data: Vec<[u8; 4]> = values.iter().map(|value| value.to_le_bytes()).collect();
    tensor(name, shape, ELEM_TYPE_FLOAT, data.as_flattened())
}

pub(super) fn half_tensor(name: &str, shape: &[usize], values: &[f16]) -> Message {
    let data: Vec<[u8; 2]> = values.iter().map(|value| value.to_le_bytes()).collect();
    tensor(name, shape, ELEM_TYPE_FLOAT16, data.as_flattened())
}

pub(super) fn int64_tensor(name: &str, shape: &[usize], values: &[i64]) -> Message {
    let data: Vec<[u8; 8]> = values.iter().map(|value| value.to_le_bytes()).collect();
    tensor(name, shape, ELEM_TYPE_INT64, data.as_flattened())
}

fn tensor(name: &str, shape: &[usize], elem_type: u64, data: &[u8]) -> Message {
    let mut tensor = Message::default();
    shape.iter().for_each(|dim| tensor.varint(1, *dim as u64));
    tensor.varint(2, elem_type);
    tensor.string(8, name);
    tensor.bytes(9, data);
    tensor
}

/// A dimension of a graph's input or output.
#[derive(Clone, Copy)]
pub(super) enum Dim {
    /// Any size, under this name.
    Any(&'static str),
    /// This size.
    Size(usize),
}

/// Describes a graph's input or output, which is `f32`.
pub(super) fn value_info(name: &str, dims: &[Dim]) -> Message {
    let mut shape = Message::default();
    for dim in dims {
        let mut message = Message::default();
        match *dim {
            Dim::Any(name) => message.string(2, name),
            Dim::Size(size) => message.varint(1, size as u64),
        }
        shape.message(1, &message);
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

/// The value of a field in a protobuf message.
enum Value<'a> {
    Int(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
}

/// Returns the values of all fields with the number `wanted` in a protobuf message. Ends where the message is damaged.
fn values(message: &[u8], wanted: u64) -> impl Iterator<Item = Value<'_>> {
    let mut rest = message;
    let next = move || {
        let tag = read_varint(&mut rest)?;
        let value = match tag & 7 {
            0 => Value::Int(read_varint(&mut rest)?),
            2 => {
                let len = usize::try_from(read_varint(&mut rest)?).ok()?;
                let (bytes, after) = rest.split_at_checked(len)?;
                rest = after;
                Value::Bytes(bytes)
            }
            _ => return None,
        };
        Some((tag >> 3, value))
    };
    std::iter::from_fn(next).filter(move |(number, _)| *number == wanted).map(|(_, value)| value)
}

/// Like [`values`], but only returns strings, bytes and messages.
pub(super) fn fields(message: &[u8], wanted: u64) -> impl Iterator<Item = &[u8]> {
    values(message, wanted).filter_map(|value| match value {
        Value::Bytes(bytes) => Some(bytes),
        Value::Int(_) => None,
    })
}

/// Like [`values`], but only returns integers.
fn varints(message: &[u8], wanted: u64) -> impl Iterator<Item = u64> {
    values(message, wanted).filter_map(|value| match value {
        Value::Int(value) => Some(value),
        Value::Bytes(_) => None,
    })
}

/// The tensors and the metadata of a file.
pub(super) struct Stored<'a> {
    file: &'a [u8],
    tensors: HashMap<&'a str, &'a [u8]>,
}

impl<'a> Stored<'a> {
    /// Finds the tensors in a file.
    pub(super) fn from_file(file: &'a [u8]) -> Self {
        let tensors = fields(file, 7).flat_map(|graph| fields(graph, 5));
        let named = |tensor| Some((std::str::from_utf8(fields(tensor, 8).next()?).ok()?, tensor));
        Self { file, tensors: tensors.filter_map(named).collect() }
    }

    fn data(&self, name: &str) -> Result<&'a [u8], ConvertError> {
        let tensor = self.tensors.get(name);
        let data = tensor.and_then(|tensor| fields(tensor, 9).next());
        data.ok_or_else(|| ConvertError::Tensor(name.to_owned()))
    }

    /// Returns the values of an `f32` tensor.
    pub(super) fn floats(&self, name: &str) -> Result<Vec<f32>, ConvertError> {
        Ok(self.data(name)?.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
    }

    /// Returns the dimensions and values of a 16-bit tensor.
    pub(super) fn halves(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), ConvertError> {
        let values = self.data(name)?.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32());
        let shape = self.tensors.get(name).map_or_else(Vec::new, |tensor| shape_of(tensor));
        Ok((shape, values.collect()))
    }

    /// Reads weights with `read`. If a tensor is missing or has another shape, the file holds another graph.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Self) -> Result<T, ConvertError>,
    ) -> Result<T, EncoderError> {
        read(self).map_err(|_| EncoderError::other_graph("its weights are not where they should be"))
    }

    /// Checks that the file is exactly what this graph and metadata give, and that its weights are finite.
    pub(super) fn check_graph(
        &self,
        graph: &Message,
        metadata: &[(String, String)],
    ) -> Result<(), EncoderError> {
        if file(graph, metadata) != self.file {
            return Err(EncoderError::other_graph("its graph is not the one that `model convert` writes"));
        }
        if !self.is_finite() {
            return Err(EncoderError::other_graph("it has weights that are not finite"));
        }
        Ok(())
    }

    /// Returns whether all numbers of 16 and 32 bits are finite.
    fn is_finite(&self) -> bool {
        self.tensors.keys().all(|name| {
            let finite_halves =
                || self.halves(name).is_ok_and(|(_, values)| values.iter().all(|v| v.is_finite()));
            let finite_floats = || self.floats(name).is_ok_and(|values| values.iter().all(|v| v.is_finite()));
            match self.tensors.get(name).map(|tensor| elem_type_of(tensor)) {
                Some(Some(ELEM_TYPE_FLOAT16)) => finite_halves(),
                Some(Some(ELEM_TYPE_FLOAT)) => finite_floats(),
                _ => true,
            }
        })
    }

    /// Returns the file's key-value pairs.
    pub(super) fn metadata(&self) -> Result<Vec<(String, String)>, ConvertError> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let entry = |entry| Some((text(fields(entry, 1).next()?)?, text(fields(entry, 2).next()?)?));
        let entries: Option<Vec<_>> = fields(self.file, 14).map(entry).collect();
        entries.ok_or_else(|| ConvertError::Tensor("metadata".to_owned()))
    }
}

/// Returns the dimensions of a tensor.
fn shape_of(tensor: &[u8]) -> Vec<usize> {
    varints(tensor, 1).filter_map(|dim| usize::try_from(dim).ok()).collect()
}

fn elem_type_of(tensor: &[u8]) -> Option<u64> {
    varints(tensor, 2).next()
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
