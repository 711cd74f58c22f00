//! PyTorch checkpoints, read without running what they hold: a checkpoint is a Python pickle, which could run code if unpickled. It is
//! checked against its hash instead, and the weights are read at the offsets that a manifest holds.

use serde::Deserialize;

use super::digest::FileDigest;
use super::error::ConvertError;

/// A checkpoint, as a manifest describes it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Checkpoint {
    /// Where it is published.
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

/// The bytes of a checkpoint, known to be those of the manifest.
pub(super) struct Tensors<'a> {
    bytes: &'a [u8],
    places: &'a [TensorPlace],
}

impl Checkpoint {
    /// Checks that a file is this checkpoint.
    pub(super) fn open<'a>(&'a self, file: &'a [u8]) -> Result<Tensors<'a>, ConvertError> {
        let found = FileDigest::of(file);
        if found != self.digest {
            return Err(ConvertError::WrongCheckpoint { found, expected: self.digest.clone() });
        }
        Ok(Tensors { bytes: file, places: &self.tensors })
    }
}

impl Tensors<'_> {
    /// Whether there is such a tensor.
    pub(super) fn has(&self, name: &str) -> bool {
        self.places.iter().any(|place| place.name == name)
    }

    /// A tensor's dimensions and values.
    pub(super) fn read(&self, name: &str) -> Result<(&[usize], Vec<f32>), ConvertError> {
        let missing = || ConvertError::Tensor(name.into());
        let place = self.places.iter().find(|place| place.name == name).ok_or_else(missing)?;
        let end = place.offset + 4 * place.shape.iter().product::<usize>();
        let data = self.bytes.get(place.offset..end).ok_or_else(missing)?;
        Ok((&place.shape, data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }
}
