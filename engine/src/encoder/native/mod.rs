//! Networks without ONNX Runtime: Resemblyzer's LSTM, CAM++ and the segmentation network in 16-bit integers, with the same bits by every instruction set.

mod campplus;
mod convolution;
mod kernel;
#[cfg(all(feature = "internals", target_arch = "x86_64"))]
mod peak;
mod segmentation;
mod self_check;
mod simd;
mod weights;

use std::sync::Arc;

use super::error::EncoderError;
use kernel::{Embed, MAX_GROUP, Workspace};
use simd::{Portable, Simd};
use weights::Network;

pub use campplus::{CampplusWeights, DenseBlockWeights, MaskedLayerWeights, NormWeights, ResidualWeights};
pub use convolution::ConvolutionWeights;
pub use segmentation::{BidirectionalWeights, SegmentationWeights};
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
    /// NEON.
    Neon,
    /// Any CPU's: slower than ONNX Runtime, there to be compared with.
    Portable,
}

/// The weights of a network.
#[derive(Debug, PartialEq)]
pub enum NetworkWeights {
    /// Resemblyzer's.
    Lstm(EncoderWeights),
    /// CAM++'s.
    Campplus(Box<CampplusWeights>),
    /// The segmentation network's.
    Segmentation(Box<SegmentationWeights>),
}

/// The encoder's weights, packed for a CPU. Cheap to clone.
#[derive(Clone)]
pub struct NativeEncoder {
    packed: Packed,
    instruction_set: InstructionSet,
    /// What [`Self::self_check`] embeds.
    check: fn() -> Vec<f32>,
}

/// The encoder with memory of its own, for one thread.
pub struct NativeSession(Box<dyn Kernel>);

/// Weights packed for an instruction set, as a function that makes kernels sharing them.
type Packed = Arc<dyn Fn() -> Box<dyn Kernel> + Send + Sync>;

/// The code that runs the weights, with memory of its own.
trait Kernel: Send {
    /// Embeds units of equal length.
    fn embed(&mut self, units: &[&[f32]]) -> Vec<Vec<f32>>;
}

/// Packs weights; tiles of convolutions have `ROWS` rows.
fn packed<S: Simd<LANES>, const LANES: usize, const ROWS: usize>(
    simd: S,
    weights: &NetworkWeights,
) -> Packed {
    match weights {
        NetworkWeights::Lstm(weights) => {
            let network = Arc::new(Network::new(weights));
            Arc::new(move || {
                Box::new(LstmKernel { simd, network: Arc::clone(&network), workspace: Workspace::default() })
            })
        }
        NetworkWeights::Campplus(weights) => {
            let network = Arc::new(campplus::Network::new(weights));
            Arc::new(move || {
                let (network, workspace) = (Arc::clone(&network), campplus::Workspace::default());
                Box::new(CampplusKernel::<S, LANES, ROWS> { simd, network, workspace })
            })
        }
        NetworkWeights::Segmentation(weights) => {
            let network = Arc::new(segmentation::Network::new(weights));
            Arc::new(move || {
                let (network, workspace) = (Arc::clone(&network), segmentation::Workspace::default());
                Box::new(SegmentationKernel::<S, LANES, ROWS> { simd, network, workspace })
            })
        }
    }
}

struct LstmKernel<S, const LANES: usize> {
    simd: S,
    network: Arc<Network<LANES>>,
    workspace: Workspace<LANES>,
}

impl<S: Simd<LANES>, const LANES: usize> Kernel for LstmKernel<S, LANES> {
    fn embed(&mut self, units: &[&[f32]]) -> Vec<Vec<f32>> {
        let Self { simd, network, workspace } = self;
        let mut all = Vec::with_capacity(units.len());
        for group in units.chunks(MAX_GROUP) {
            let values = group.concat();
            let (mels, rest) = values.as_chunks::<N_MELS>();
            assert!(rest.is_empty(), "a frame has {N_MELS} bands");
            let mut embeddings = vec![[0.0; EMBEDDING_DIM]; group.len()];
            simd.run(Embed { simd: *simd, network, workspace, mels, embeddings: &mut embeddings });
            all.extend(embeddings.iter().map(|embedding| embedding.to_vec()));
        }
        all
    }
}

struct CampplusKernel<S, const LANES: usize, const ROWS: usize> {
    simd: S,
    network: Arc<campplus::Network<LANES>>,
    workspace: campplus::Workspace,
}

impl<S: Simd<LANES>, const LANES: usize, const ROWS: usize> Kernel for CampplusKernel<S, LANES, ROWS> {
    fn embed(&mut self, units: &[&[f32]]) -> Vec<Vec<f32>> {
        let Self { simd, network, workspace } = self;
        let embed = |unit: &&[f32]| {
            let (frames, rest) = unit.as_chunks();
            assert!(rest.is_empty() && !frames.is_empty(), "a frame has {} bands", campplus::N_BANDS);
            let mut embedding = [0.0; campplus::DIMENSION];
            simd.run(campplus::Embed::<S, LANES, ROWS> {
                simd: *simd,
                network,
                workspace,
                frames,
                embedding: &mut embedding,
            });
            embedding.to_vec()
        };
        units.iter().map(embed).collect()
    }
}

struct SegmentationKernel<S, const LANES: usize, const ROWS: usize> {
    simd: S,
    network: Arc<segmentation::Network<LANES>>,
    workspace: segmentation::Workspace,
}

impl<S: Simd<LANES>, const LANES: usize, const ROWS: usize> Kernel for SegmentationKernel<S, LANES, ROWS> {
    fn embed(&mut self, units: &[&[f32]]) -> Vec<Vec<f32>> {
        let Self { simd, network, workspace } = self;
        let segment = |samples: &&[f32]| {
            let mut output = Vec::new();
            simd.run(segmentation::Segment::<S, LANES, ROWS> {
                simd: *simd,
                network,
                workspace,
                samples,
                output: &mut output,
            });
            output
        };
        units.iter().map(segment).collect()
    }
}

impl InstructionSet {
    /// All, the fastest first.
    const ALL: [Self; 5] = [Self::Avx512Vnni, Self::AvxVnni, Self::Avx2, Self::Neon, Self::Portable];

    /// Those that this CPU has, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|set| set.is_available())
    }

    /// The fastest that this CPU has, if it has any.
    pub fn vectorised() -> Option<Self> {
        Self::available().next().filter(|set| *set != Self::Portable)
    }

    /// The fastest that this CPU has, if it is as fast as ONNX Runtime. On ARM an instruction multiplies as many integers as floats, and CPUs do
    /// fewer of them at a time.
    pub fn fast() -> Option<Self> {
        Self::vectorised().filter(|set| *set != Self::Neon)
    }

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512Vnni => "avx512-vnni",
            Self::AvxVnni => "avx-vnni",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
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
            #[cfg(target_arch = "aarch64")]
            Self::Neon => simd::Neon::detect().is_some(),
            Self::Portable => true,
            #[allow(unreachable_patterns, reason = "sets of other CPUs")]
            _ => false,
        }
    }

    /// Packs weights for it; `None` where this CPU does not have it.
    fn pack(self, weights: &NetworkWeights) -> Option<Packed> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => Some(packed::<_, _, 12>(simd::Avx512Vnni::detect()?, weights)),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => Some(packed::<_, _, 6>(simd::AvxVnni::detect()?, weights)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Some(packed::<_, _, 6>(simd::Avx2::detect()?, weights)),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Some(packed::<_, _, 6>(simd::Neon::detect()?, weights)),
            Self::Portable => Some(packed::<_, _, 4>(Portable, weights)),
            #[allow(unreachable_patterns, reason = "sets of other CPUs")]
            _ => None,
        }
    }
}

impl NativeEncoder {
    /// Quantises and packs weights.
    pub fn new(weights: &NetworkWeights, instruction_set: InstructionSet) -> Result<Self, EncoderError> {
        let packed = instruction_set.pack(weights);
        let packed = packed.ok_or(EncoderError::NoInstructions(instruction_set.name()))?;
        let check = match weights {
            NetworkWeights::Lstm(_) => self_check::mels,
            NetworkWeights::Campplus(_) => self_check::log_mels,
            NetworkWeights::Segmentation(_) => self_check::samples,
        };
        Ok(Self { packed, instruction_set, check })
    }

    /// What the weights are packed for.
    pub fn instruction_set(&self) -> InstructionSet {
        self.instruction_set
    }

    /// A session; all share the weights.
    pub fn session(&self) -> NativeSession {
        NativeSession((self.packed)())
    }

    /// The embedding of one fixed unit, little-endian `f32`: its hash tells whether this machine computes correctly.
    pub fn self_check(&self) -> Vec<u8> {
        let embeddings = (self.packed)().embed(&[&(self.check)()]);
        embeddings.iter().flatten().flat_map(|component| component.to_le_bytes()).collect()
    }
}

impl NativeSession {
    /// As [`Session::embed`](super::Session::embed), of any number of frames.
    pub(super) fn embed(&mut self, units: &[&[f32]]) -> Result<Vec<Vec<f32>>, EncoderError> {
        // In integers, a not-a-number would become a number.
        if !units.iter().all(|unit| unit.iter().all(|mel| mel.is_finite())) {
            return Err(EncoderError::Run("a band is not finite".into()));
        }
        Ok(self.0.embed(units))
    }
}
