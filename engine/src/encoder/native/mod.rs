//! Networks without ONNX Runtime: Resemblyzer's LSTM, CAM++ and the segmentation network. They compute in 16-bit integers,
//! and every instruction set gives the same bits.
//!
//! # Recognising the graph
//!
//! The native encoder reads the same ONNX files. `onnx.rs` of each model finds the weights by name and writes the file
//! again; only if the bytes are equal is the graph known to be the expected one.
//!
//! # Resemblyzer
//!
//! Weights and hidden values are 16-bit integers, multiplied in pairs and summed in 32 bits. Each row of weights has the
//! finest step with which no input can overflow the sum. Cell state, gate functions and the input of layer 0 have too wide a
//! range and stay `f32`, computed with the same fused operations in the same order by every instruction set. Integer sums do
//! not depend on their order, so all instruction sets return the same bits in any batch. `kernel.rs` is written once over
//! the trait of `simd.rs`; its plain implementation is the reference for the others.
//!
//! The computation goes layer by layer. The input of a layer is multiplied for about 56 rows at a time, then those steps
//! follow. Hidden values overwrite those of the layer below, in pairs laid out like the weights. A tile is up to six windows
//! by the four gates of one vector of hidden units. It fills the registers of AVX-512, so each weight is read once for six
//! windows.
//!
//! # CAM++
//!
//! `campplus.rs` and `head.rs` consist of convolutions (`convolution.rs`). Their maps are sequences of frames in 16-bit
//! integers. Each frame has a scale with which no value exceeds 8,192, and the weights of each output have a step with
//! which the sums over one frame fit into 32 bits. Such a sum is exact; sums over several frames are floats. Twelve rows of
//! input are multiplied with 32 outputs at a time (six with 16 on AVX2). Norms, residual sums, masks and statistics are
//! `f32`.
//!
//! The head's convolutions over three frames take half of the products (`winograd.rs`): six for four frames of outputs
//! instead of twelve. Their inputs are sums of frames; the scale of a sum follows from the largest values of its frames.
//! All layers of the head run together, twelve frames at a time, so what passes between them stays in a cache of 1 MB. A
//! dense block computes 24 frames at a time. Its masks depend on all frames, so its layers run one after the other.
//!
//! # Segmentation network
//!
//! `segmentation.rs` uses the same `convolution.rs` for its convolutions, linear layers and the input part of its LSTM
//! gates. Its fixed filters stay floats: even filters multiply the sums of the samples on both sides of the centre, odd
//! filters the differences, which halves the work. One step of a direction reads 128 KiB of recurrent weights; reading them
//! from the second-level cache limits the speed.

mod campplus;
mod convolution;
mod frames;
mod head;
mod kernel;
#[cfg(all(feature = "internals", target_arch = "x86_64"))]
mod peak;
mod segmentation;
mod self_check;
mod simd;
mod weights;
mod winograd;

use std::sync::Arc;

use super::error::EncoderError;
use kernel::{EmbedWindows, MAX_GROUP, Workspace};
use simd::{Portable, Simd};
use weights::Network;

pub use campplus::{CampplusWeights, DenseBlockWeights, MaskedLayerWeights, NormWeights};
pub use convolution::ConvolutionWeights;
pub use head::ResidualWeights;
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
    /// Plain code that runs on any CPU. It is slower than ONNX Runtime and only serves for comparison.
    Portable,
}

/// The weights of a network.
#[derive(Debug, PartialEq)]
pub enum NetworkWeights {
    /// Resemblyzer's weights.
    Lstm(EncoderWeights),
    /// CAM++'s weights.
    Campplus(Box<CampplusWeights>),
    /// The segmentation network's weights.
    Segmentation(Box<SegmentationWeights>),
}

/// The encoder's weights, packed for a CPU. Cheap to clone.
#[derive(Clone)]
pub struct NativeEncoder {
    packed: Packed,
    instruction_set: InstructionSet,
    /// Returns the unit that [`Self::self_check`] embeds.
    check: fn() -> Vec<f32>,
}

/// The encoder with its workspace, for one thread.
pub struct NativeSession(Box<dyn Kernel>);

/// A function that creates kernels, which share weights packed for an instruction set.
type Packed = Arc<dyn Fn() -> Box<dyn Kernel> + Send + Sync>;

/// The code that runs a network, with its workspace.
trait Kernel: Send {
    /// Embeds units of equal length.
    fn embed(&mut self, units: &[&[f32]]) -> Vec<Vec<f32>>;
}

/// Packs weights. Tiles of convolutions have `ROWS` rows.
fn pack<S: Simd<LANES>, const LANES: usize, const ROWS: usize>(simd: S, weights: &NetworkWeights) -> Packed {
    match weights {
        NetworkWeights::Lstm(weights) => {
            let network = Arc::new(Network::new(weights));
            Arc::new(move || {
                Box::new(LstmKernel { simd, network: Arc::clone(&network), workspace: Workspace::default() })
            })
        }
        NetworkWeights::Campplus(weights) => {
            let network = Arc::new(campplus::CampplusNetwork::new(weights));
            Arc::new(move || {
                let (network, workspace) = (Arc::clone(&network), campplus::CampplusWorkspace::default());
                Box::new(CampplusKernel::<S, LANES, ROWS> { simd, network, workspace })
            })
        }
        NetworkWeights::Segmentation(weights) => {
            let network = Arc::new(segmentation::PackedSegmentation::new(weights));
            Arc::new(move || {
                let (network, workspace) =
                    (Arc::clone(&network), segmentation::SegmentationWorkspace::default());
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
            simd.run(EmbedWindows { simd: *simd, network, workspace, mels, embeddings: &mut embeddings });
            all.extend(embeddings.iter().map(|embedding| embedding.to_vec()));
        }
        all
    }
}

struct CampplusKernel<S, const LANES: usize, const ROWS: usize> {
    simd: S,
    network: Arc<campplus::CampplusNetwork<LANES>>,
    workspace: campplus::CampplusWorkspace,
}

impl<S: Simd<LANES>, const LANES: usize, const ROWS: usize> Kernel for CampplusKernel<S, LANES, ROWS> {
    fn embed(&mut self, units: &[&[f32]]) -> Vec<Vec<f32>> {
        let Self { simd, network, workspace } = self;
        let embed = |unit: &&[f32]| {
            let (frames, rest) = unit.as_chunks();
            assert!(rest.is_empty() && !frames.is_empty(), "a frame has {} bands", head::N_BANDS);
            let mut embedding = [0.0; campplus::DIMENSION];
            simd.run(campplus::EmbedPiece::<S, LANES, ROWS> {
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
    network: Arc<segmentation::PackedSegmentation<LANES>>,
    workspace: segmentation::SegmentationWorkspace,
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
    /// All sets, the fastest first.
    const ALL: [Self; 5] = [Self::Avx512Vnni, Self::AvxVnni, Self::Avx2, Self::Neon, Self::Portable];

    /// Returns the sets that this CPU has, the fastest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|set| set.is_available())
    }

    /// Returns the fastest set of vector instructions that this CPU has, if any.
    pub fn vectorised() -> Option<Self> {
        Self::available().next().filter(|set| *set != Self::Portable)
    }

    /// Returns the fastest set that this CPU has, if it is as fast as ONNX Runtime. NEON is not: on ARM, an instruction
    /// multiplies as many integers as floats, and CPUs run fewer of the integer instructions at a time.
    pub fn fast() -> Option<Self> {
        Self::vectorised().filter(|set| *set != Self::Neon)
    }

    /// Returns the set's name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx512Vnni => "avx512-vnni",
            Self::AvxVnni => "avx-vnni",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// Multiplies pairs of 16-bit integers in registers for `rounds` rounds, and returns the number of multiplications.
    /// The CPU cannot do more in that time. Returns 0 for a set without a single instruction for this.
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

    /// Packs weights for this set, or returns `None` if this CPU does not have it.
    fn pack(self, weights: &NetworkWeights) -> Option<Packed> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => Some(pack::<_, _, 12>(simd::Avx512Vnni::detect()?, weights)),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => Some(pack::<_, _, 6>(simd::AvxVnni::detect()?, weights)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Some(pack::<_, _, 6>(simd::Avx2::detect()?, weights)),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => Some(pack::<_, _, 6>(simd::Neon::detect()?, weights)),
            Self::Portable => Some(pack::<_, _, 4>(Portable, weights)),
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

    /// Returns the instruction set that the weights are packed for.
    pub fn instruction_set(&self) -> InstructionSet {
        self.instruction_set
    }

    /// Creates a session. All sessions share the weights.
    pub fn session(&self) -> NativeSession {
        NativeSession((self.packed)())
    }

    /// Returns the embedding of a fixed unit as little-endian `f32`. Its hash shows whether this machine computes correctly.
    pub fn self_check(&self) -> Vec<u8> {
        let embeddings = (self.packed)().embed(&[&(self.check)()]);
        embeddings.iter().flatten().flat_map(|component| component.to_le_bytes()).collect()
    }
}

impl NativeSession {
    /// Like [`Session::embed`](super::Session::embed), for any number of frames.
    pub(super) fn embed(&mut self, units: &[&[f32]]) -> Result<Vec<Vec<f32>>, EncoderError> {
        // Rounding to integers would turn a not-a-number into a number.
        if !units.iter().all(|unit| unit.iter().all(|mel| mel.is_finite())) {
            return Err(EncoderError::Run("a band is not finite".into()));
        }
        Ok(self.0.embed(units))
    }
}
