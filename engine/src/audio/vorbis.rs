//! Vorbis headers: the lengths of packets, limits, and repairs.
//!
//! symphonia-codec-vorbis 0.6.1 undoes the coupling of channels from the first step to the last; it must be from the last to the
//! first. With more than one step (three channels and more) the samples are wrong, so the steps are put in reverse order here.
//!
//! In residues of types 0 and 1 it writes the classes of a last, incomplete group of partitions into those of the next channel. Where
//! several channels share such a residue, its end is moved so that every group is complete. The encoder gives the partitions
//! beyond the end the class 0 (libvorbis `_01forward`), which must have no books then, so that nothing more is read for them.
//!
//! A header may cost its decoder far more than its bytes: codebooks become tables that grow with the lengths of their codes, and
//! every packet pays for a mapping's steps. What no encoder writes is refused here, before the decoder sees it.
//!
//! Source: Vorbis I specification, sections 3.2.1 (codebooks), 4.2 (headers), 6.2.1, 7.2.2 (floors) and 8.6.1 (residues).

use std::ops::RangeInclusive;

use super::recording::{MAX_CHANNELS, SAMPLE_RATES_HZ};

/// Bytes of an identification header, exactly.
const IDENTIFICATION_LEN: usize = 30;

/// Entries and dimensions of a codebook: encoders write up to 6,561 and 8.
const MAX_ENTRIES: u32 = 131_072;
const MAX_DIMENSIONS: u32 = 32;

/// Bytes that the decoder makes of all codebooks; of libvorbis' headers it makes up to 3.9 MB.
const MAX_CODEBOOK_BYTES: u64 = 16 << 20;

/// The longest code of a codebook, in bits.
const MAX_CODE_LEN: usize = 32;

/// Bits of a code that the decoder looks up at once, and bytes of an entry of those tables.
const LOOKUP_BITS: usize = 8;
const LOOKUP_ENTRY_BYTES: u64 = 8;

/// Floors, residues, mappings and modes: encoders write up to 3 each.
const MAX_OF_EACH: u32 = 16;

/// Order and map of a floor of type 0: encoders wrote up to 32 and 256.
const MAX_FLOOR_ORDER: u32 = 64;
const MAX_FLOOR_MAP: u32 = 1_024;

/// Exponents of block sizes.
const BLOCK_SIZES: RangeInclusive<u8> = 6..=13;

/// What is needed of the headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VorbisHeaders {
    for_decoder: Vec<u8>,
    channels: u8,
    sample_rate_hz: u32,
    /// Samples of a short and of a long block.
    block_sizes: [u64; 2],
    /// For each mode, whether its blocks are long.
    modes: Vec<bool>,
}

impl VorbisHeaders {
    /// Reads the identification and the setup header, each a packet. `None` if one is damaged, or asks for more than encoders do.
    pub(super) fn read(identification: &[u8], setup: &[u8]) -> Option<Self> {
        // The decoder looks for the setup header where the identification header should end.
        let is_whole =
            identification.len() == IDENTIFICATION_LEN && identification.starts_with(b"\x01vorbis");
        if !is_whole || !setup.starts_with(b"\x05vorbis") {
            return None;
        }
        let channels = *identification.get(11)?;
        let sample_rate_hz = u32::from_le_bytes(identification.get(12..16)?.try_into().ok()?);
        let sizes = *identification.get(28)?;
        let (short, long) = (sizes & 0x0f, sizes >> 4);
        let are_sizes = BLOCK_SIZES.contains(&short) && BLOCK_SIZES.contains(&long) && short <= long;
        if !are_sizes
            || !(1..=MAX_CHANNELS).contains(&channels.into())
            || !SAMPLE_RATES_HZ.contains(&sample_rate_hz)
        {
            return None;
        }
        let mut bits = Bits { bytes: setup, at: 7 * 8 };
        let setup_info = Setup::read(&mut bits, channels)?;
        let block_sizes = [1 << short, 1 << long];
        let mut setup = setup.to_vec();
        for mapping in &setup_info.mappings {
            reverse_steps(&mut setup, &mapping.steps);
            for submap in mapping.submaps.iter().filter(|submap| submap.n_channels > 1) {
                let residue = setup_info.residues.get(submap.residue)?;
                let group = *setup_info.dimensions.get(residue.classbook)?;
                if residue.kind < 2 {
                    let end = residue.complete_end(group, block_sizes)?;
                    write_bits(&mut setup, residue.end_at, 24, end);
                }
            }
        }
        Some(Self {
            for_decoder: [identification, &setup].concat(),
            channels,
            sample_rate_hz,
            block_sizes,
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

    pub(super) fn sample_rate_hz(&self) -> u32 {
        self.sample_rate_hz
    }

    /// Identification and setup header for the decoder, one behind the other.
    pub(super) fn for_decoder(&self) -> &[u8] {
        &self.for_decoder
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

/// What a residue's header says of its partitions, and where it says how far they reach.
struct Residue {
    kind: u32,
    begin: u64,
    end: u64,
    /// Place of the end in the header, in bits.
    end_at: usize,
    partition_size: u64,
    /// The codebook of a group's classes.
    classbook: usize,
    /// Nothing is read for partitions of class 0.
    is_class_0_empty: bool,
}

impl Residue {
    /// The end with which partitions come in whole groups in blocks of both sizes: the one that there is, or a later one. `None` if there
    /// is no such end.
    fn complete_end(&self, group: u32, block_sizes: [u64; 2]) -> Option<u32> {
        let group_size = u64::from(group) * self.partition_size;
        let is_complete = |end: u64| {
            block_sizes.iter().all(|size| {
                let len = end.min(size / 2).saturating_sub(self.begin.min(size / 2));
                (len / self.partition_size).is_multiple_of(group.into())
            })
        };
        if is_complete(self.end) {
            return u32::try_from(self.end).ok();
        }
        let end = self.begin + (self.end - self.begin).div_ceil(group_size) * group_size;
        u32::try_from(end).ok().filter(|_| self.is_class_0_empty && is_complete(end))
    }
}

/// Channels that share a residue.
struct Submap {
    residue: usize,
    n_channels: usize,
}

struct Mapping {
    steps: Steps,
    submaps: Vec<Submap>,
}

struct Setup {
    /// Of each codebook.
    dimensions: Vec<u32>,
    residues: Vec<Residue>,
    mappings: Vec<Mapping>,
    modes: Vec<bool>,
}

impl Setup {
    fn read(bits: &mut Bits, channels: u8) -> Option<Self> {
        let (mut codebook_bytes, mut dimensions) = (0, Vec::new());
        for _ in 0..=bits.take(8)? {
            let codebook = Codebook::read(bits)?;
            dimensions.push(codebook.dimensions);
            codebook_bytes += codebook.decoded_bytes;
            if codebook_bytes > MAX_CODEBOOK_BYTES {
                return None;
            }
        }
        // Time domain transforms: placeholders of 16 bits.
        let n_transforms = bits.take(6)? as usize + 1;
        bits.skip(n_transforms * 16)?;
        for _ in 0..count(bits)? {
            skip_floor(bits)?;
        }
        let residues = (0..count(bits)?).map(|_| read_residue(bits)).collect::<Option<_>>()?;
        let mappings = (0..count(bits)?).map(|_| read_mapping(bits, channels)).collect::<Option<_>>()?;
        let mut modes = Vec::new();
        for _ in 0..count(bits)? {
            modes.push(bits.flag()?);
            bits.skip(16 + 16 + 8)?;
        }
        Some(Self { dimensions, residues, mappings, modes })
    }
}

/// A count of floors, residues, mappings or modes.
fn count(bits: &mut Bits) -> Option<u32> {
    let count = bits.take(6)? + 1;
    (count <= MAX_OF_EACH).then_some(count)
}

struct Codebook {
    dimensions: u32,
    /// Bytes that the decoder makes of it.
    decoded_bytes: u64,
}

impl Codebook {
    fn read(bits: &mut Bits) -> Option<Self> {
        if bits.take(24)? != 0x56_4342 {
            return None;
        }
        let (dimensions, entries) = (bits.take(16)?, bits.take(24)?);
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) || entries > MAX_ENTRIES {
            return None;
        }
        // How many codes there are of each length.
        let mut codes = [0_u64; MAX_CODE_LEN + 1];
        let is_ordered = bits.flag()?;
        if is_ordered {
            let mut len = bits.take(5)? as usize + 1;
            let mut n_read = 0;
            while n_read < entries {
                let n = bits.take(ilog(entries - n_read))?;
                n_read = n_read.checked_add(n).filter(|n_read| *n_read <= entries)?;
                *codes.get_mut(len)? += u64::from(n);
                len += 1;
            }
        } else {
            let is_sparse = bits.flag()?;
            for _ in 0..entries {
                if !is_sparse || bits.flag()? {
                    codes[bits.take(5)? as usize + 1] += 1;
                }
            }
        }
        let lookup = bits.take(4)?;
        if lookup > 0 {
            bits.skip(32 + 32)?;
            let value_len = bits.take(4)? as usize + 1;
            bits.skip(1)?;
            let n_values = match lookup {
                1 => lookup_values(entries, dimensions),
                2 => entries as usize * dimensions as usize,
                _ => return None,
            };
            bits.skip(n_values.checked_mul(value_len)?)?;
        }
        let vectors = if lookup > 0 { 4 * u64::from(entries) * u64::from(dimensions) } else { 0 };
        Some(Self { dimensions, decoded_bytes: table_bytes(&codes)? + vectors })
    }
}

/// Bytes of the tables that the decoder looks codes up in: one for each group of [`LOOKUP_BITS`] bits that longer codes begin with.
/// `None` if the codes are more than their lengths have room for, or fewer.
fn table_bytes(codes: &[u64; MAX_CODE_LEN + 1]) -> Option<u64> {
    let Some(longest) = codes.iter().rposition(|n| *n > 0) else { return Some(0) };
    let width = longest.clamp(4, LOOKUP_BITS);
    // Nodes of the tree of codes that are no code themselves, at each depth.
    let mut inner = 1_u64;
    let mut n_tables = 0;
    for (depth, n_codes) in codes.iter().enumerate().take(longest + 1) {
        if depth > 0 {
            inner = (2 * inner).checked_sub(*n_codes)?;
        }
        if depth % width == 0 && depth < longest {
            n_tables += inner;
        }
    }
    let is_single = codes.iter().sum::<u64>() == 1;
    (inner == 0 || is_single).then(|| n_tables * (1 << width) * LOOKUP_ENTRY_BYTES)
}

/// The greatest number that, to the power of `dimensions`, is not above `entries`.
fn lookup_values(entries: u32, dimensions: u32) -> usize {
    let fits = |value: u64| value.checked_pow(dimensions).is_some_and(|power| power <= entries.into());
    (1..=u64::from(entries)).take_while(|value| fits(*value)).last().unwrap_or(0) as usize
}

fn skip_floor(bits: &mut Bits) -> Option<()> {
    match bits.take(16)? {
        0 => {
            let order = bits.take(8)?;
            bits.skip(16)?;
            let map = bits.take(16)?;
            bits.skip(6 + 8)?;
            if order > MAX_FLOOR_ORDER || map > MAX_FLOOR_MAP {
                return None;
            }
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

fn read_residue(bits: &mut Bits) -> Option<Residue> {
    let (kind, begin) = (bits.take(16)?, bits.take(24)?);
    let end_at = bits.at;
    let (end, partition_size) = (bits.take(24)?, bits.take(24)? + 1);
    let n_classes = bits.take(6)? + 1;
    let classbook = bits.take(8)? as usize;
    let mut n_books = Vec::new();
    for _ in 0..n_classes {
        let low = bits.take(3)?;
        let high = if bits.flag()? { bits.take(5)? } else { 0 };
        n_books.push((low | high << 3).count_ones() as usize);
    }
    bits.skip(n_books.iter().sum::<usize>() * 8)?;
    (kind <= 2 && begin <= end).then(|| Residue {
        kind,
        begin: begin.into(),
        end: end.into(),
        end_at,
        partition_size: partition_size.into(),
        classbook,
        is_class_0_empty: n_books[0] == 0,
    })
}

fn read_mapping(bits: &mut Bits, channels: u8) -> Option<Mapping> {
    bits.skip(16)?;
    let n_submaps = if bits.flag()? { bits.take(4)? as usize + 1 } else { 1 };
    let mut steps = Steps { at: bits.at, count: 0, len: 0 };
    if bits.flag()? {
        let count = bits.take(8)? as usize + 1;
        // Each packet takes all steps.
        if count > usize::from(channels) {
            return None;
        }
        let len = 2 * ilog(u32::from(channels).saturating_sub(1)) as usize;
        steps = Steps { at: bits.at, count, len };
        bits.skip(count * len)?;
    }
    bits.skip(2)?;
    let mut n_channels = vec![0; n_submaps];
    for _ in 0..channels {
        let submap = if n_submaps > 1 { bits.take(4)? as usize } else { 0 };
        *n_channels.get_mut(submap)? += 1;
    }
    let mut submaps = Vec::new();
    for n_channels in n_channels {
        bits.skip(8 + 8)?;
        submaps.push(Submap { residue: bits.take(8)? as usize, n_channels });
    }
    Some(Mapping { steps, submaps })
}

fn reverse_steps(setup: &mut [u8], steps: &Steps) {
    if steps.count < 2 {
        return;
    }
    let original = setup.to_vec();
    for step in 0..steps.count {
        let from = steps.at + (steps.count - 1 - step) * steps.len;
        let to = steps.at + step * steps.len;
        for i in 0..steps.len {
            let bit = original[(from + i) / 8] >> ((from + i) % 8) & 1;
            write_bits(setup, to + i, 1, bit.into());
        }
    }
}

/// Writes the low `n` bits of a value over those from a place on.
fn write_bits(bytes: &mut [u8], at: usize, n: usize, value: u32) {
    for i in 0..n {
        let (byte, shift) = (&mut bytes[(at + i) / 8], (at + i) % 8);
        *byte = *byte & !(1 << shift) | ((value >> i & 1) as u8) << shift;
    }
}
