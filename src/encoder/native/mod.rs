//! Our own kernels: the LSTM in 16-bit integers, with the same bits by every set of instructions.

mod network;
#[cfg(all(feature = "internals", target_arch = "x86_64"))]
mod peak;
mod simd;

use std::sync::Arc;

use super::onnx::EncoderWeights;
use super::session::{EncoderError, Session, WindowEmbedding};
use crate::hparams::{EMBEDDING_DIM, N_MELS, WINDOW_FRAMES};
use network::{Embed, MAX_GROUP, Network, Workspace};
use simd::{Portable, Simd};

/// Instructions that the kernels are made for.
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

/// The encoder, and what it computes in.
pub(super) struct NativeSession(Box<dyn Kernel>);

/// Weights packed for a set of instructions: what makes kernels that share them.
type Packed = Arc<dyn Fn() -> Box<dyn Kernel> + Send + Sync>;

/// The code that runs them, with memory of its own.
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
    /// Reads and packs the weights of an ONNX file that `model convert` wrote.
    pub fn new(onnx: &[u8], instruction_set: InstructionSet) -> Result<Self, EncoderError> {
        let weights = EncoderWeights::from_onnx(onnx)?;
        let packed = instruction_set.pack(&weights);
        let packed = packed.ok_or(EncoderError::NoInstructions(instruction_set.name()))?;
        Ok(Self { packed, instruction_set })
    }

    /// What the weights are packed for.
    pub fn instruction_set(&self) -> InstructionSet {
        self.instruction_set
    }

    /// A session; all share the weights.
    pub fn session(&self) -> Session {
        Session::native(NativeSession((self.packed)()))
    }

    /// The embedding of a fixed window, to check a machine with: noise of a linear congruential generator, as loud as speech.
    pub fn check_embedding(&self) -> WindowEmbedding {
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0
        };
        let mut mels = vec![[0.0; N_MELS]; WINDOW_FRAMES];
        mels.as_flattened_mut().iter_mut().for_each(|mel| *mel = noise() * noise());
        let mut embedding = [[0.0; EMBEDDING_DIM]];
        (self.packed)().embed(&mels, &mut embedding);
        embedding[0]
    }
}

impl NativeSession {
    /// As [`Session::embed`].
    pub(super) fn embed(&mut self, mels: &[f32]) -> Result<Vec<WindowEmbedding>, EncoderError> {
        let (frames, rest) = mels.as_chunks::<N_MELS>();
        assert!(rest.is_empty() && frames.len().is_multiple_of(WINDOW_FRAMES), "windows are whole");
        // In integers, what is no number would become one.
        if !mels.iter().all(|mel| mel.is_finite()) {
            return Err(EncoderError::Run("a mel band is not finite".into()));
        }
        let mut embeddings = vec![[0.0; EMBEDDING_DIM]; frames.len() / WINDOW_FRAMES];
        for (mels, embeddings) in
            frames.chunks(MAX_GROUP * WINDOW_FRAMES).zip(embeddings.chunks_mut(MAX_GROUP))
        {
            self.0.embed(mels, embeddings);
        }
        Ok(embeddings)
    }
}
