//! Resemblyzer's encoder without ONNX Runtime: the LSTM in 16-bit integers, with the same bits by every instruction set.

mod kernel;
#[cfg(all(feature = "internals", target_arch = "x86_64"))]
mod peak;
mod self_check;
mod simd;
mod weights;

use std::sync::Arc;

use super::error::EncoderError;
use kernel::{Embed, MAX_GROUP, Workspace};
use simd::{Portable, Simd};
use weights::{Network, WindowEmbedding};

pub use weights::{
    EMBEDDING_DIM, EncoderWeights, HIDDEN_UNITS, LSTM_LAYERS, LinearWeights, LstmWeights, N_MELS,
};

/// Instruction sets that the encoder is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// AVX-512 with VNNI.
    Avx512Vnni,
    /// AVX2 with AVX-VNNI.
    AvxVnni,
    /// AVX2 with FMA.
    Avx2,
    /// Any CPU's: slower than ONNX Runtime, there to be compared with.
    Portable,
}

/// The encoder's weights, packed for a CPU. Cheap to clone.
#[derive(Clone)]
pub struct NativeEncoder {
    packed: Packed,
    instruction_set: InstructionSet,
}

/// The encoder with memory of its own, for one thread.
pub struct NativeSession(Box<dyn Kernel>);

/// Weights packed for an instruction set, as a function that makes kernels sharing them.
type Packed = Arc<dyn Fn() -> Box<dyn Kernel> + Send + Sync>;

/// The code that runs the weights, with memory of its own.
trait Kernel: Send {
    /// Embeds up to [`MAX_GROUP`] windows, of any number of frames.
    fn embed(&mut self, mels: &[[f32; N_MELS]], embeddings: &mut [WindowEmbedding]);
}

fn packed<S: Simd<LANES>, const LANES: usize>(simd: S, weights: &EncoderWeights) -> Packed {
    let network = Arc::new(Network::new(weights));
    Arc::new(move || {
        Box::new(KernelFor { simd, network: Arc::clone(&network), workspace: Workspace::default() })
    })
}

struct KernelFor<S, const LANES: usize> {
    simd: S,
    network: Arc<Network<LANES>>,
    workspace: Workspace<LANES>,
}

impl<S: Simd<LANES>, const LANES: usize> Kernel for KernelFor<S, LANES> {
    fn embed(&mut self, mels: &[[f32; N_MELS]], embeddings: &mut [WindowEmbedding]) {
        let Self { simd, network, workspace } = self;
        simd.run(Embed { simd: *simd, network, workspace, mels, embeddings });
    }
}

impl InstructionSet {
    /// All, the fastest first.
    const ALL: [Self; 4] = [Self::Avx512Vnni, Self::AvxVnni, Self::Avx2, Self::Portable];

    /// Those that this CPU has, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|set| set.is_available())
    }

    /// The fastest that this CPU has, if it is as fast as ONNX Runtime.
    pub fn fast() -> Option<Self> {
        Self::available().next().filter(|set| *set != Self::Portable)
    }

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512Vnni => "avx512-vnni",
            Self::AvxVnni => "avx-vnni",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Multiplies pairs of 16-bit integers in registers alone, so many rounds of them: how many multiplications that was. The CPU
    /// can do no more in that time. 0 for a set without an instruction for it.
    #[cfg(feature = "internals")]
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables, reason = "no set has one there"))]
    pub fn multiply_in_registers(self, rounds: usize) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => simd::Avx512Vnni::detect().map_or(0, |simd| peak::multiply(simd, rounds)),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => simd::AvxVnni::detect().map_or(0, |simd| peak::multiply(simd, rounds)),
            _ => 0,
        }
    }

    fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => simd::Avx512Vnni::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => simd::AvxVnni::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => simd::Avx2::detect().is_some(),
            Self::Portable => true,
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// Packs weights for it; `None` where this CPU does not have it.
    fn pack(self, weights: &EncoderWeights) -> Option<Packed> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => Some(packed(simd::Avx512Vnni::detect()?, weights)),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => Some(packed(simd::AvxVnni::detect()?, weights)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Some(packed(simd::Avx2::detect()?, weights)),
            Self::Portable => Some(packed(Portable, weights)),
            #[cfg(not(target_arch = "x86_64"))]
            _ => None,
        }
    }
}

impl NativeEncoder {
    /// Quantises and packs weights.
    pub fn new(weights: &EncoderWeights, instruction_set: InstructionSet) -> Result<Self, EncoderError> {
        let packed = instruction_set.pack(weights);
        let packed = packed.ok_or(EncoderError::NoInstructions(instruction_set.name()))?;
        Ok(Self { packed, instruction_set })
    }

    /// What the weights are packed for.
    pub fn instruction_set(&self) -> InstructionSet {
        self.instruction_set
    }

    /// A session; all share the weights.
    pub fn session(&self) -> NativeSession {
        NativeSession((self.packed)())
    }

    /// The embedding of one fixed window, 256 little-endian `f32`: its hash tells whether this machine computes
    /// correctly.
    pub fn self_check(&self) -> Vec<u8> {
        let mut embedding = [[0.0; EMBEDDING_DIM]];
        (self.packed)().embed(&self_check::window(), &mut embedding);
        self_check::bytes(&embedding[0])
    }
}

impl NativeSession {
    /// As [`Session::embed`](super::Session::embed), of any number of frames.
    pub(super) fn embed(&mut self, units: &[&[f32]]) -> Result<Vec<Vec<f32>>, EncoderError> {
        // In integers, a not-a-number would become a number.
        if !units.iter().all(|unit| unit.iter().all(|mel| mel.is_finite())) {
            return Err(EncoderError::Run("a mel band is not finite".into()));
        }
        let mut embeddings = Vec::with_capacity(units.len());
        for group in units.chunks(MAX_GROUP) {
            let values = group.concat();
            let (mels, rest) = values.as_chunks::<N_MELS>();
            assert!(rest.is_empty(), "a frame has {N_MELS} bands");
            let mut of_group = vec![[0.0; EMBEDDING_DIM]; group.len()];
            self.0.embed(mels, &mut of_group);
            embeddings.extend(of_group.iter().map(|embedding| embedding.to_vec()));
        }
        Ok(embeddings)
    }
}
