//! Vorbis headers: the lengths of packets, and a repair.
//!
//! symphonia-codec-vorbis 0.6.1 undoes the coupling of channels from the first step to the last; it must be from the last to the
//! first. With more than one step (three channels and more) the samples are wrong, so the steps are put in reverse order here.
//!
//! Source: Vorbis I specification, sections 3.2.1 (codebooks), 4.2 (headers), 6.2.1, 7.2.2 (floors) and 8.6.1 (residues).

/// What is needed of the headers.
pub(super) struct VorbisHeaders {
    /// Identification and setup header for the decoder, one behind the other.
    pub(super) for_decoder: Vec<u8>,
    channels: u8,
    /// Samples of a short and of a long block.
    block_sizes: [u64; 2],
    /// For each mode, whether its blocks are long.
    modes: Vec<bool>,
}

impl VorbisHeaders {
    /// Reads the identification and the setup header, each a packet.
    pub(super) fn read(identification: &[u8], setup: &[u8]) -> Option<Self> {
        let channels = *identification.get(11)?;
        let sizes = *identification.get(28)?;
        let mut bits = Bits { bytes: setup, at: 7 * 8 };
        let setup_info = Setup::read(&mut bits, channels)?;
        let mut setup = setup.to_vec();
        for steps in &setup_info.couplings {
            reverse_steps(&mut setup, steps);
        }
        Some(Self {
            for_decoder: [identification, &setup].concat(),
            channels,
            block_sizes: [1 << (sizes & 0x0f), 1 << (sizes >> 4)],
            modes: setup_info.modes,
        })
    }

    /// Samples of a packet's block: half of it and half of the block before are heard between their middles.
    pub(super) fn block_size(&self, packet: &[u8]) -> Option<u64> {
        let mut bits = Bits { bytes: packet, at: 0 };
        if bits.take(1)? != 0 {
            return None;
        }
        let mode = bits.take(ilog(self.modes.len() as u32 - 1))?;
        Some(self.block_sizes[usize::from(*self.modes.get(mode as usize)?)])
    }

    /// Channels.
    pub(super) fn channels(&self) -> u8 {
        self.channels
    }
}

/// Bits of a packet, the least significant of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, n: u32) -> Option<u32> {
        let mut value = 0;
        for i in 0..n {
            let byte = self.bytes.get(self.at / 8)?;
            value |= u32::from(byte >> (self.at % 8) & 1) << i;
            self.at += 1;
        }
        Some(value)
    }

    fn skip(&mut self, n: usize) -> Option<()> {
        self.at = self.at.checked_add(n)?;
        (self.at <= self.bytes.len() * 8).then_some(())
    }

    fn flag(&mut self) -> Option<bool> {
        Some(self.take(1)? == 1)
    }
}

/// The position of the highest bit that is set, counted from 1; 0 for 0.
fn ilog(value: u32) -> u32 {
    u32::BITS - value.leading_zeros()
}

/// The steps of coupling in a mapping: where they begin, how many, and bits of each.
struct Steps {
    at: usize,
    count: usize,
    len: usize,
}

struct Setup {
    couplings: Vec<Steps>,
    modes: Vec<bool>,
}

impl Setup {
    fn read(bits: &mut Bits, channels: u8) -> Option<Self> {
        for _ in 0..=bits.take(8)? {
            skip_codebook(bits)?;
        }
        // Time domain transforms: placeholders of 16 bits.
        let n_transforms = bits.take(6)? as usize + 1;
        bits.skip(n_transforms * 16)?;
        for _ in 0..=bits.take(6)? {
            skip_floor(bits)?;
        }
        for _ in 0..=bits.take(6)? {
            skip_residue(bits)?;
        }
        let mut couplings = Vec::new();
        for _ in 0..=bits.take(6)? {
            couplings.push(read_mapping(bits, channels)?);
        }
        let mut modes = Vec::new();
        for _ in 0..=bits.take(6)? {
            modes.push(bits.flag()?);
            bits.skip(16 + 16 + 8)?;
        }
        Some(Self { couplings, modes })
    }
}

fn skip_codebook(bits: &mut Bits) -> Option<()> {
    if bits.take(24)? != 0x56_4342 {
        return None;
    }
    let (dimensions, entries) = (bits.take(16)?, bits.take(24)?);
    let is_ordered = bits.flag()?;
    if is_ordered {
        bits.skip(5)?;
        let mut coded = 0;
        while coded < entries {
            coded += bits.take(ilog(entries - coded))?;
        }
    } else {
        let is_sparse = bits.flag()?;
        for _ in 0..entries {
            if !is_sparse || bits.flag()? {
                bits.skip(5)?;
            }
        }
    }
    let lookup = bits.take(4)?;
    if lookup == 0 {
        return Some(());
    }
    bits.skip(32 + 32)?;
    let value_len = bits.take(4)? as usize + 1;
    bits.skip(1)?;
    let n_values = match lookup {
        1 => lookup_values(entries, dimensions),
        2 => entries as usize * dimensions as usize,
        _ => return None,
    };
    bits.skip(n_values.checked_mul(value_len)?)
}

/// The greatest number that, to the power of `dimensions`, is not above `entries`.
fn lookup_values(entries: u32, dimensions: u32) -> usize {
    let fits = |value: u64| value.checked_pow(dimensions).is_some_and(|power| power <= entries.into());
    (1..=u64::from(entries)).take_while(|value| fits(*value)).last().unwrap_or(0) as usize
}

fn skip_floor(bits: &mut Bits) -> Option<()> {
    match bits.take(16)? {
        0 => {
            bits.skip(8 + 16 + 16 + 6 + 8)?;
            let n_books = bits.take(4)? as usize + 1;
            bits.skip(n_books * 8)
        }
        1 => skip_floor_1(bits),
        _ => None,
    }
}

fn skip_floor_1(bits: &mut Bits) -> Option<()> {
    let n_partitions = bits.take(5)?;
    let classes = (0..n_partitions).map(|_| bits.take(4)).collect::<Option<Vec<u32>>>()?;
    let n_classes = classes.iter().max().map_or(0, |class| class + 1);
    let mut dimensions = Vec::new();
    for _ in 0..n_classes {
        dimensions.push(bits.take(3)? as usize + 1);
        let n_subclass_bits = bits.take(2)?;
        let masterbook = if n_subclass_bits > 0 { 8 } else { 0 };
        bits.skip(masterbook + (8 << n_subclass_bits))?;
    }
    bits.skip(2)?;
    let range_len = bits.take(4)? as usize;
    let n_points: usize = classes.iter().map(|class| dimensions[*class as usize]).sum();
    bits.skip(n_points * range_len)
}

fn skip_residue(bits: &mut Bits) -> Option<()> {
    bits.skip(16 + 24 + 24 + 24)?;
    let n_classes = bits.take(6)? + 1;
    bits.skip(8)?;
    let mut n_books = 0;
    for _ in 0..n_classes {
        let low = bits.take(3)?;
        let high = if bits.flag()? { bits.take(5)? } else { 0 };
        n_books += (low | high << 3).count_ones() as usize;
    }
    bits.skip(n_books * 8)
}

/// The steps of coupling of a mapping.
fn read_mapping(bits: &mut Bits, channels: u8) -> Option<Steps> {
    bits.skip(16)?;
    let n_submaps = if bits.flag()? { bits.take(4)? as usize + 1 } else { 1 };
    let mut steps = Steps { at: bits.at, count: 0, len: 0 };
    if bits.flag()? {
        let count = bits.take(8)? as usize + 1;
        let len = 2 * ilog(u32::from(channels).saturating_sub(1)) as usize;
        steps = Steps { at: bits.at, count, len };
        bits.skip(count * len)?;
    }
    bits.skip(2)?;
    if n_submaps > 1 {
        bits.skip(usize::from(channels) * 4)?;
    }
    bits.skip(n_submaps * 24)?;
    Some(steps)
}

fn reverse_steps(setup: &mut [u8], steps: &Steps) {
    let original = setup.to_vec();
    for step in 0..steps.count {
        let from = steps.at + (steps.count - 1 - step) * steps.len;
        let to = steps.at + step * steps.len;
        for i in 0..steps.len {
            let bit = original[(from + i) / 8] >> ((from + i) % 8) & 1;
            let place = &mut setup[(to + i) / 8];
            *place = *place & !(1 << ((to + i) % 8)) | bit << ((to + i) % 8);
        }
    }
}
