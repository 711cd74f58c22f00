//! Reads PyTorch checkpoints without running code. A checkpoint is a Python pickle, and unpickling can run the code in
//! it. The file is checked against its hash instead, and the weights are read at the offsets in a manifest.

use serde::Deserialize;

use super::error::ConvertError;
use crate::encoder::FileDigest;

/// A checkpoint, as a manifest describes it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Checkpoint {
    /// The URL at which it is published.
    pub(super) url: String,
    /// Its size and hash.
    #[serde(flatten)]
    pub(super) digest: FileDigest,
    /// The weights in it.
    pub(super) tensors: Vec<TensorPlace>,
}

/// The place of a tensor in a checkpoint: little-endian `f32` in row-major order.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct TensorPlace {
    /// Its name in the PyTorch module's state.
    pub(super) name: String,
    /// Its dimensions.
    pub(super) shape: Vec<usize>,
    /// Its first byte.
    pub(super) offset: usize,
}

/// The bytes of a checkpoint, which match the manifest.
pub(super) struct Tensors<'a> {
    bytes: &'a [u8],
    places: &'a [TensorPlace],
}

impl Checkpoint {
    /// Returns the metadata that the ONNX file contains about its source.
    pub(super) fn metadata(&self, licence: &str) -> Vec<(String, String)> {
        let entries =
            [("source", self.url.as_str()), ("source_sha256", &self.digest.sha256), ("license", licence)];
        entries.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
    }

    /// Checks that a file is this checkpoint.
    pub(super) fn open<'a>(&'a self, file: &'a [u8]) -> Result<Tensors<'a>, ConvertError> {
        let found = FileDigest::compute(file);
        if found != self.digest {
            return Err(ConvertError::WrongCheckpoint { found, expected: self.digest.clone() });
        }
        Ok(Tensors { bytes: file, places: &self.tensors })
    }
}

impl Tensors<'_> {
    /// Returns whether the checkpoint has a tensor of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.places.iter().any(|place| place.name == name)
    }

    /// Returns a tensor's dimensions and values.
    pub(super) fn read(&self, name: &str) -> Result<(&[usize], Vec<f32>), ConvertError> {
        let missing = || ConvertError::Tensor(name.into());
        let place = self.places.iter().find(|place| place.name == name).ok_or_else(missing)?;
        let end = place.offset + 4 * place.shape.iter().product::<usize>();
        let data = self.bytes.get(place.offset..end).ok_or_else(missing)?;
        Ok((&place.shape, data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }

    /// Returns the values of an LSTM's tensor with the rows of its four gates in ONNX's order. PyTorch's order is
    /// input, forget, cell, output; ONNX's order is input, output, forget, cell.
    pub(super) fn read_gates(&self, name: &str) -> Result<Vec<f32>, ConvertError> {
        let rows = self.read(name)?.1;
        let gate = |i: usize| &rows[i * rows.len() / 4..(i + 1) * rows.len() / 4];
        Ok([gate(0), gate(3), gate(1), gate(2)].concat())
    }
}
