//! Vorbis headers: the lengths of packets, limits, and repairs.
//!
//! symphonia-codec-vorbis 0.6.1 undoes the coupling of channels from the first step to the last, but the order must be
//! from the last to the first. With more than one step (three channels and more), the samples are wrong. This module
//! therefore reverses the steps in the header.
//!
//! In residues of types 0 and 1, if the last group of partitions is incomplete, the decoder overwrites classes of the
//! next channel. If several channels share such a residue, this module moves its end so that every group is complete. The
//! encoder gives the partitions beyond the end the class 0 (libvorbis `_01forward`). That class must have no books, so
//! that the decoder reads nothing more for these partitions.
//!
//! A header may cost its decoder far more memory and time than its size suggests. Codebooks become tables that grow with
//! the lengths of their codes, and every packet executes all steps of a mapping. This module rejects headers that no
//! encoder writes before the decoder sees them.
//!
//! Source: Vorbis I specification, sections 3.2.1 (codebooks), 4.2 (headers), 6.2.1, 7.2.2 (floors) and 8.6.1 (residues).

use std::ops::RangeInclusive;

use super::recording::{MAX_CHANNELS, SAMPLE_RATES_HZ};

/// Exact length of an identification header in bytes.
const IDENTIFICATION_LEN: usize = 30;

/// Limits on the entries and dimensions of a codebook. Encoders write up to 6,561 and 8.
const MAX_ENTRIES: u32 = 131_072;
const MAX_DIMENSIONS: u32 = 32;

/// Limit on the bytes of the decoder's tables for all codebooks. For libvorbis' headers, the tables need up to 3.9 MB.
const MAX_CODEBOOK_BYTES: u64 = 16 << 20;

/// Length of a codebook's longest code, in bits.
const MAX_CODE_LEN: usize = 32;

/// Number of bits of a code that the decoder looks up at once, and bytes of an entry of its tables.
const LOOKUP_BITS: usize = 8;
const LOOKUP_ENTRY_BYTES: u64 = 8;

/// Limit on floors, residues, mappings and modes. Encoders write up to 3 of each.
const MAX_OF_EACH: u32 = 16;

/// Limits on the order and the map of a floor of type 0. Encoders wrote up to 32 and 256.
const MAX_FLOOR_ORDER: u32 = 64;
const MAX_FLOOR_MAP: u32 = 1_024;

/// Valid exponents of block sizes.
const BLOCK_SIZES: RangeInclusive<u8> = 6..=13;

/// The required contents of the headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VorbisHeaders {
    for_decoder: Vec<u8>,
    channels: u8,
    sample_rate_hz: u32,
    /// Number of samples in a short and in a long block.
    block_sizes: [u64; 2],
    /// For each mode, whether its blocks are long.
    modes: Vec<bool>,
}

impl VorbisHeaders {
    /// Reads the identification and the setup header, each from a packet. Returns `None` if one is damaged or exceeds the
    /// limits.
    pub(super) fn read(identification: &[u8], setup: &[u8]) -> Option<Self> {
        // The decoder expects the setup header directly after an identification header of this length.
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
        let mut bits = VorbisBits { bytes: setup, at: 7 * 8 };
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

    /// Returns the number of samples in a packet's block. A packet yields the audio between the middle of the previous
    /// block and the middle of this one, where halves of both blocks overlap.
    pub(super) fn block_size(&self, packet: &[u8]) -> Option<u64> {
        let mut bits = VorbisBits { bytes: packet, at: 0 };
        if bits.take(1)? != 0 {
            return None;
        }
        let mode = bits.take(ilog(self.modes.len() as u32 - 1))?;
        Some(self.block_sizes[usize::from(*self.modes.get(mode as usize)?)])
    }

    /// Returns the number of channels.
    pub(super) fn channels(&self) -> u8 {
        self.channels
    }

    pub(super) fn sample_rate_hz(&self) -> u32 {
        self.sample_rate_hz
    }

    /// Returns the identification header followed by the setup header, for the decoder.
    pub(super) fn for_decoder(&self) -> &[u8] {
        &self.for_decoder
    }
}

/// Reads the bits of a packet, the least significant bit of each byte first.
struct VorbisBits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl VorbisBits<'_> {
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

/// Returns the position of the highest set bit, counted from 1, or 0 for 0.
fn ilog(value: u32) -> u32 {
    u32::BITS - value.leading_zeros()
}

/// The coupling steps of a mapping: their position in the header, their number and the bits of each.
struct Steps {
    at: usize,
    count: usize,
    len: usize,
}

/// The fields of a residue's header that describe its partitions, and the position of the field for their end.
struct Residue {
    kind: u32,
    begin: u64,
    end: u64,
    /// Position of the field for the end, in bits of the header.
    end_at: usize,
    partition_size: u64,
    /// The codebook of a group's classes.
    classbook: usize,
    /// Whether the decoder reads nothing for partitions of class 0.
    is_class_0_empty: bool,
}

impl Residue {
    /// Returns an end with which all groups of partitions are complete in blocks of both sizes: the current end or a
    /// later one. Returns `None` if there is none.
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
    /// The dimensions of each codebook.
    dimensions: Vec<u32>,
    residues: Vec<Residue>,
    mappings: Vec<Mapping>,
    modes: Vec<bool>,
}

impl Setup {
    fn read(bits: &mut VorbisBits, channels: u8) -> Option<Self> {
        let (mut codebook_bytes, mut dimensions) = (0, Vec::new());
        for _ in 0..=bits.take(8)? {
            let codebook = Codebook::read(bits)?;
            dimensions.push(codebook.dimensions);
            codebook_bytes += codebook.decoded_bytes;
            if codebook_bytes > MAX_CODEBOOK_BYTES {
                return None;
            }
        }
        // Time domain transforms are placeholders of 16 bits.
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

/// Reads the number of floors, residues, mappings or modes.
fn count(bits: &mut VorbisBits) -> Option<u32> {
    let count = bits.take(6)? + 1;
    (count <= MAX_OF_EACH).then_some(count)
}

struct Codebook {
    dimensions: u32,
    /// Bytes of the decoder's tables for this codebook.
    decoded_bytes: u64,
}

impl Codebook {
    fn read(bits: &mut VorbisBits) -> Option<Self> {
        if bits.take(24)? != 0x56_4342 {
            return None;
        }
        let (dimensions, entries) = (bits.take(16)?, bits.take(24)?);
        if !(1..=MAX_DIMENSIONS).contains(&dimensions) || entries > MAX_ENTRIES {
            return None;
        }
        // Number of codes of each length.
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

/// Returns the bytes of the tables in which the decoder looks up codes. There is a first table, and one for each group of
/// [`LOOKUP_BITS`] bits with which longer codes begin. Returns `None` if there are too many or too few codes for their
/// lengths.
fn table_bytes(codes: &[u64; MAX_CODE_LEN + 1]) -> Option<u64> {
    let Some(longest) = codes.iter().rposition(|n| *n > 0) else { return Some(0) };
    let width = longest.clamp(4, LOOKUP_BITS);
    // Number of inner nodes of the code tree at each depth. They are not codes themselves.
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

/// Returns the greatest number whose power with exponent `dimensions` does not exceed `entries`.
fn lookup_values(entries: u32, dimensions: u32) -> usize {
    let fits = |value: u64| value.checked_pow(dimensions).is_some_and(|power| power <= entries.into());
    (1..=u64::from(entries)).take_while(|value| fits(*value)).last().unwrap_or(0) as usize
}

fn skip_floor(bits: &mut VorbisBits) -> Option<()> {
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

fn skip_floor_1(bits: &mut VorbisBits) -> Option<()> {
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

fn read_residue(bits: &mut VorbisBits) -> Option<Residue> {
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

fn read_mapping(bits: &mut VorbisBits, channels: u8) -> Option<Mapping> {
    bits.skip(16)?;
    let n_submaps = if bits.flag()? { bits.take(4)? as usize + 1 } else { 1 };
    let mut steps = Steps { at: bits.at, count: 0, len: 0 };
    if bits.flag()? {
        let count = bits.take(8)? as usize + 1;
        // Each packet executes all steps.
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

/// Overwrites `n` bits from position `at` with the low bits of a value.
fn write_bits(bytes: &mut [u8], at: usize, n: usize, value: u32) {
    for i in 0..n {
        let (byte, shift) = (&mut bytes[(at + i) / 8], (at + i) % 8);
        *byte = *byte & !(1 << shift) | ((value >> i & 1) as u8) << shift;
    }
}
