//! Files for tests and fuzzers: containers whose counts, sizes and tables may be false.

#![allow(clippy::trivially_copy_pass_by_ref, reason = "names are literals of bytes")]
#![allow(
    missing_docs,
    unreachable_pub,
    reason = "the fuzzer of structures, another crate, includes this file"
)]

/// The source of the numbers in a file: a fuzzer's input, or a case in a table.
pub struct Numbers<'a> {
    bytes: &'a [u8],
}

/// Numbers that often break code.
const EDGES: [u64; 24] = [
    0,
    1,
    2,
    3,
    4,
    7,
    16,
    20,
    64,
    127,
    128,
    255,
    256,
    1_024,
    4_096,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    u64::MAX - 1,
    u64::MAX,
];

impl<'a> Numbers<'a> {
    /// Reads numbers from these bytes, followed by zeros.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *byte
    }

    /// Returns an edge number, a small number or any four-byte number. `usual` is the most likely.
    fn number(&mut self, usual: u64) -> u64 {
        match self.byte() {
            0..=127 => usual,
            byte @ 128..=191 => EDGES[usize::from(byte - 128) % EDGES.len()],
            192..=223 => self.byte().into(),
            _ => u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()]).into(),
        }
    }

    /// Returns the actual number of entries, at most `most`.
    fn count(&mut self, most: usize) -> usize {
        usize::from(self.byte()) % (most + 1)
    }

    /// Returns whether an optional part is present, as it mostly is.
    fn is_there(&mut self) -> bool {
        self.byte() != 255
    }

    /// Returns remaining bytes as the content of a packet.
    fn content(&mut self, most: usize) -> Vec<u8> {
        let n = self.count(255).max(16).min(most);
        (0..n).map(|i| self.bytes.get(i).copied().unwrap_or(i as u8)).collect()
    }

    fn be32(&mut self, usual: u64) -> [u8; 4] {
        (self.number(usual) as u32).to_be_bytes()
    }

    fn be64(&mut self, usual: u64) -> [u8; 8] {
        self.number(usual).to_be_bytes()
    }

    fn le32(&mut self, usual: u64) -> [u8; 4] {
        (self.number(usual) as u32).to_le_bytes()
    }

    fn be16(&mut self, usual: u64) -> [u8; 2] {
        (self.number(usual) as u16).to_be_bytes()
    }

    fn le16(&mut self, usual: u64) -> [u8; 2] {
        (self.number(usual) as u16).to_le_bytes()
    }
}

/// Returns a file in one of the containers. The first byte selects it.
pub fn from_description(input: &[u8]) -> Vec<u8> {
    let (kind, rest) = input.split_first().unwrap_or((&0, &[]));
    let numbers = &mut Numbers::new(rest);
    match kind % 8 {
        0 | 1 => mp4(numbers),
        2 => matroska(numbers),
        3 => caf(numbers),
        4 => ogg(numbers),
        5 => wav(numbers),
        6 => flac(numbers),
        _ => aiff(numbers),
    }
}

/// Returns a box of MP4, QuickTime and related formats.
pub fn atom(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32 + 8).to_be_bytes()[..], name, content].concat()
}

/// Returns a full box, which has a version and flags.
pub fn full_atom(name: &[u8; 4], flags: u32, content: &[u8]) -> Vec<u8> {
    atom(name, &[&flags.to_be_bytes()[..], content].concat())
}

/// Returns a sample description: the codec's name, channels, bits, rate, and boxes.
pub fn sample_entry(name: &[u8; 4], channels: u16, bits: u16, boxes: &[u8]) -> Vec<u8> {
    let head = [&[0; 6][..], &[0, 1], &[0; 8]].concat();
    let fields = [
        channels.to_be_bytes().to_vec(),
        bits.to_be_bytes().to_vec(),
        vec![0; 4],
        (16_000_u32 << 16).to_be_bytes().to_vec(),
    ];
    atom(name, &[head, fields.concat(), boxes.to_vec()].concat())
}

/// Returns the cookie of ALAC at 16 kHz, mono.
pub fn alac_cookie(frame_length: u32) -> Vec<u8> {
    let fields = [0, 16, 40, 10, 14, 1, 0, 255];
    [&frame_length.to_be_bytes()[..], &fields, &[0; 8], &16_000_u32.to_be_bytes()].concat()
}

/// Returns a movie with one track that has these tables.
pub fn movie(entry: &[u8], tables: &[u8], edits: Option<&[u8]>, extends: &[u8]) -> Vec<u8> {
    let times = [&[0; 8][..], &16_000_u32.to_be_bytes(), &16_000_u32.to_be_bytes(), &[0; 4]].concat();
    let description = full_atom(b"stsd", 0, &[&1_u32.to_be_bytes()[..], entry].concat());
    let table = atom(b"stbl", &[description, tables.to_vec()].concat());
    let media = [
        full_atom(b"mdhd", 0, &times),
        full_atom(b"hdlr", 0, b"\0\0\0\0soun\0\0\0\0\0\0\0\0\0\0\0\0\0"),
        atom(b"minf", &table),
    ];
    let header = [&[0; 8][..], &1_u32.to_be_bytes(), &[0; 68]].concat();
    let edits = edits.map_or(Vec::new(), |edits| atom(b"edts", &full_atom(b"elst", 0, edits)));
    let track = [full_atom(b"tkhd", 0, &header), edits, atom(b"mdia", &media.concat())].concat();
    let movie = [full_atom(b"mvhd", 0, &times), atom(b"trak", &track), extends.to_vec()].concat();
    [atom(b"ftyp", b"M4A \0\0\0\0"), atom(b"moov", &movie)].concat()
}

fn entry_of(numbers: &mut Numbers<'_>) -> Vec<u8> {
    let channels = numbers.number(1) as u16;
    let bits = numbers.number(16) as u16;
    match numbers.count(6) {
        0 => {
            let cookie = [&[0; 4][..], &alac_cookie(numbers.number(4_096) as u32)].concat();
            sample_entry(b"alac", channels, bits, &atom(b"alac", &cookie))
        }
        1 => {
            let (count, family) = (numbers.number(1) as u8, numbers.number(0) as u8);
            let skip = numbers.be16(312);
            let fields = [&[0, count][..], &skip, &[0; 4], &[0, 0, family]].concat();
            let mapping = [numbers.number(1) as u8, numbers.number(0) as u8, 0, 1, 2, 3];
            sample_entry(b"Opus", channels, bits, &atom(b"dOps", &[&fields[..], &mapping].concat()))
        }
        2 => sample_entry(b"sowt", channels, bits, &[]),
        3 => sample_entry(b".mp3", channels, bits, &[]),
        4 => sample_entry(b"ima4", channels, bits, &[]),
        5 => {
            let info = [&4_096_u16.to_be_bytes()[..], &4_096_u16.to_be_bytes(), &[0; 6]].concat();
            let rest = [&numbers.be64(16_000 << 44 | 15 << 36)[..], &[0; 16]].concat();
            let block = [&[0, 0, 0, 0, 0x80, 0, 0, 34][..], &info, &rest].concat();
            sample_entry(b"fLaC", channels, bits, &atom(b"dfLa", &block))
        }
        _ => {
            let config = [0x05, 0x02, 0x14, 0x08];
            let decoder = [&[0x04, 0x11, 0x40, 0x15][..], &[0; 11], &config].concat();
            let descriptor = [&[0x03, decoder.len() as u8 + 3, 0, 0, 0][..], &decoder].concat();
            sample_entry(b"mp4a", channels, bits, &full_atom(b"esds", 0, &descriptor))
        }
    }
}

fn mp4(numbers: &mut Numbers<'_>) -> Vec<u8> {
    let entry = entry_of(numbers);
    let mut tables = Vec::new();
    if numbers.is_there() {
        let (size, count) = (numbers.be32(0), numbers.be32(2));
        let lens: Vec<u8> = (0..numbers.count(8)).flat_map(|_| numbers.be32(20)).collect();
        tables.extend(full_atom(b"stsz", 0, &[&size[..], &count, &lens].concat()));
    }
    if numbers.is_there() {
        let count = numbers.be32(1);
        if numbers.count(3) == 0 {
            let offsets: Vec<u8> = (0..numbers.count(8)).flat_map(|_| numbers.be64(600)).collect();
            tables.extend(full_atom(b"co64", 0, &[&count[..], &offsets].concat()));
        } else {
            let offsets: Vec<u8> = (0..numbers.count(8)).flat_map(|_| numbers.be32(600)).collect();
            tables.extend(full_atom(b"stco", 0, &[&count[..], &offsets].concat()));
        }
    }
    if numbers.is_there() {
        let count = numbers.be32(1);
        let runs: Vec<u8> = (0..numbers.count(4))
            .flat_map(|_| [numbers.be32(1), numbers.be32(2), numbers.be32(1)].concat())
            .collect();
        tables.extend(full_atom(b"stsc", 0, &[&count[..], &runs].concat()));
    }
    let edits = (numbers.count(2) == 0).then(|| {
        let count = numbers.be32(1);
        let edits: Vec<u8> = (0..numbers.count(4))
            .flat_map(|_| [numbers.be32(1_000), numbers.be32(0), [0, 1, 0, 0]].concat())
            .collect();
        [&count[..], &edits].concat()
    });
    let extends = (numbers.count(1) == 0).then(|| {
        let fields = [numbers.be32(1), numbers.be32(1), numbers.be32(1_024), numbers.be32(20), [0; 4]];
        atom(b"mvex", &full_atom(b"trex", 0, &fields.concat()))
    });
    let mut file = movie(&entry, &tables, edits.as_deref(), &extends.unwrap_or_default());
    for _ in 0..numbers.count(3) {
        let header = full_atom(
            b"tfhd",
            numbers.number(0x02_0000) as u32,
            &[&numbers.be32(1)[..], &numbers.be32(20), &numbers.be32(20)].concat(),
        );
        let runs: Vec<u8> = (0..numbers.count(5))
            .flat_map(|_| {
                let (flags, count) = (numbers.number(0x201) as u32, numbers.be32(2));
                let fields: Vec<u8> = (0..numbers.count(8)).flat_map(|_| numbers.be32(20)).collect();
                full_atom(b"trun", flags, &[&count[..], &fields].concat())
            })
            .collect();
        file.extend(atom(b"moof", &atom(b"traf", &[header, runs].concat())));
    }
    file.extend(atom(b"mdat", &numbers.content(256)));
    file
}

/// Returns an element of Matroska whose length field has eight bytes.
pub fn element(id: u32, content: &[u8]) -> Vec<u8> {
    element_of_length(id, content.len() as u64, content)
}

/// Returns an element that announces this length.
pub fn element_of_length(id: u32, length: u64, content: &[u8]) -> Vec<u8> {
    let id: Vec<u8> = id.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
    let length = (length & ((1 << 56) - 1) | 1 << 56).to_be_bytes();
    [&id[..], &length, content].concat()
}

/// Returns the start of a WebM file with a track of this codec.
pub fn matroska_head(codec: &[u8], private: &[u8], more: &[u8]) -> Vec<u8> {
    let audio = [element(0xb5, &16_000_f64.to_be_bytes()), element(0x9f, &[1]), element(0x6264, &[16])];
    let entry = [
        element(0xd7, &[1]),
        element(0x83, &[2]),
        element(0x86, codec),
        element(0x63a2, private),
        element(0xe1, &audio.concat()),
        more.to_vec(),
    ];
    let tracks = element(0x1654_ae6b, &element(0xae, &entry.concat()));
    let head = element(0x1a45_dfa3, &element(0x4282, b"webm"));
    [head, element_of_length(0x1853_8067, (1 << 56) - 1, &tracks)].concat()
}

/// The header of mono Opus.
pub const OPUS_HEAD: &[u8] = b"OpusHead\x01\x01\x38\x01\x80\x3e\0\0\0\0\0";

fn matroska(numbers: &mut Numbers<'_>) -> Vec<u8> {
    let more = if numbers.count(3) == 0 {
        let settings = element(0x4255, &numbers.content(128));
        let compression = [element(0x4254, &[3]), settings].concat();
        element(0x6d80, &element(0x6240, &element(0x5034, &compression)))
    } else {
        element(0x56aa, &numbers.be64(6_500_000))
    };
    let codec: &[u8] = [&b"A_OPUS"[..], b"A_PCM/INT/LIT", b"A_AAC", b"A_MPEG/L3"][numbers.count(3)];
    let private = if codec == b"A_OPUS" { OPUS_HEAD.to_vec() } else { vec![0x14, 0x08] };
    let mut file = matroska_head(codec, &private, &more);
    for _ in 0..numbers.count(4) {
        let mut blocks = element(0xe7, &numbers.be64(0));
        for _ in 0..numbers.count(6) {
            let flags = [0, 2, 4, 6][numbers.count(3)];
            let laced = [&[numbers.number(2) as u8][..], &numbers.content(64)].concat();
            let block = [&[0x81, 0, 0, flags][..], &laced].concat();
            let length = numbers.number(block.len() as u64);
            blocks.extend(element_of_length(0xa3, length, &block));
        }
        let padding = element(0x75a2, &numbers.be64(10_000_000));
        let group = [element(0xa1, &[0x81, 0, 0, 0, 0x08]), padding].concat();
        blocks.extend(element(0xa0, &group));
        let length = numbers.number(blocks.len() as u64);
        file.extend(element_of_length(0x1f43_b675, length, &blocks));
    }
    file
}

/// Returns a CAF chunk that announces this length.
pub fn caf_chunk(name: &[u8; 4], length: u64, content: &[u8]) -> Vec<u8> {
    [&name[..], &length.to_be_bytes(), content].concat()
}

/// Returns the description chunk of CAF.
pub fn caf_description(
    format: &[u8; 4],
    bytes_per_packet: u32,
    frames_per_packet: u32,
    channels: u32,
) -> Vec<u8> {
    let fields = [
        16_000_f64.to_be_bytes().to_vec(),
        format.to_vec(),
        vec![0; 4],
        bytes_per_packet.to_be_bytes().to_vec(),
        frames_per_packet.to_be_bytes().to_vec(),
        channels.to_be_bytes().to_vec(),
        16_u32.to_be_bytes().to_vec(),
    ];
    caf_chunk(b"desc", 32, &fields.concat())
}

/// Returns the packet table chunk of CAF: counts, and packet lengths of at most 127 bytes.
pub fn caf_packet_table(n_packets: u64, priming: u32, remainder: u32, lens: &[u8]) -> Vec<u8> {
    let head = [&n_packets.to_be_bytes()[..], &[0; 8], &priming.to_be_bytes(), &remainder.to_be_bytes()];
    let table = [head.concat(), lens.to_vec()].concat();
    caf_chunk(b"pakt", table.len() as u64, &table)
}

fn caf(numbers: &mut Numbers<'_>) -> Vec<u8> {
    let format: &[u8; 4] = [b"opus", b"lpcm", b"ima4", b"alac", b"aac ", b".mp3", b"ulaw"][numbers.count(6)];
    let mut file = b"caff\0\x01\0\0".to_vec();
    let (per_packet, frames) = (numbers.number(0) as u32, numbers.number(960) as u32);
    file.extend(caf_description(format, per_packet, frames, numbers.number(1) as u32));
    let cookie = if format == b"alac" { alac_cookie(numbers.number(4_096) as u32) } else { vec![0x14, 0x08] };
    file.extend(caf_chunk(b"kuki", cookie.len() as u64, &cookie));
    let lens: Vec<u8> = (0..numbers.count(16)).map(|_| numbers.number(4) as u8).collect();
    let (count, priming, remainder) = (numbers.number(4), numbers.number(312), numbers.number(100));
    file.extend(caf_packet_table(count, priming as u32, remainder as u32, &lens));
    let content = [&[0; 4][..], &numbers.content(256)].concat();
    let length = numbers.number(content.len() as u64);
    file.extend(caf_chunk(b"data", length, &content));
    file
}

/// Returns a page of Ogg.
pub fn ogg_page(flags: u8, position: u64, number: u32, lacing: &[u8], body: &[u8]) -> Vec<u8> {
    let head = [&b"OggS\0"[..], &[flags], &position.to_le_bytes(), &[1, 0, 0, 0], &number.to_le_bytes()];
    [&head.concat()[..], &[0; 4], &[lacing.len() as u8], lacing, body].concat()
}

fn ogg(numbers: &mut Numbers<'_>) -> Vec<u8> {
    let mut head = OPUS_HEAD.to_vec();
    head[9] = numbers.number(1) as u8;
    head[10..12].copy_from_slice(&numbers.le16(312));
    head[18] = numbers.number(0) as u8;
    head.extend([numbers.number(1) as u8, numbers.number(0) as u8, 0, 1, 2, 3, 4, 5, 6, 7]);
    let mut file = ogg_page(2, 0, 0, &[head.len() as u8], &head);
    file.extend(ogg_page(0, 0, 1, &[16], b"OpusTags\0\0\0\0\0\0\0\0"));
    for number in 0..numbers.count(6) {
        let lacing: Vec<u8> = (0..numbers.count(20)).map(|_| numbers.number(2) as u8).collect();
        let (flags, position) = (numbers.count(7) as u8, numbers.number(960));
        file.extend(ogg_page(flags, position, number as u32 + 2, &lacing, &numbers.content(128)));
    }
    file
}

/// Returns a WAV file with a format chunk, another chunk, and a data chunk that announces this length.
pub fn wav_file(format: &[u8], other: (&[u8; 4], u32, &[u8]), data_length: u32, data: &[u8]) -> Vec<u8> {
    let (name, length, content) = other;
    let chunks = [
        &b"WAVEfmt "[..],
        &(format.len() as u32).to_le_bytes(),
        format,
        name,
        &length.to_le_bytes(),
        content,
        b"data",
        &data_length.to_le_bytes(),
        data,
    ]
    .concat();
    [&b"RIFF"[..], &(chunks.len() as u32).to_le_bytes(), &chunks].concat()
}

/// Returns a format chunk: codec, channels, rate, block size, bits and the rest.
pub fn wav_format(tag: u16, channels: u16, rate: u32, align: u16, bits: u16, more: &[u8]) -> Vec<u8> {
    let fields = [tag.to_le_bytes(), channels.to_le_bytes()].concat();
    let rest = [align.to_le_bytes(), bits.to_le_bytes()].concat();
    [&fields[..], &rate.to_le_bytes(), &[0; 4], &rest, more].concat()
}

fn wav(numbers: &mut Numbers<'_>) -> Vec<u8> {
    let tag = [1, 3, 2, 0x11, 0x55, 6, 0xfffe][numbers.count(6)];
    let more = [&[2, 0][..], &numbers.le16(505), &numbers.content(32)].concat();
    let format = wav_format(
        tag,
        numbers.number(1) as u16,
        numbers.number(16_000) as u32,
        numbers.number(2) as u16,
        numbers.number(16) as u16,
        &more,
    );
    let fact = numbers.le32(100);
    let data = numbers.content(256);
    let (length, data_length) = (numbers.number(4) as u32, numbers.number(data.len() as u64) as u32);
    wav_file(&format, (b"fact", length, &fact), data_length, &data)
}

/// Returns the STREAMINFO block of FLAC at 16 kHz, with the file's marker.
pub fn flac_head(block_size: u16, max_frame_bytes: u32, channels: u8, n_samples: u64) -> Vec<u8> {
    let fields = 16_000_u64 << 44 | u64::from(channels - 1) << 41 | 15 << 36 | n_samples & ((1 << 36) - 1);
    let sizes = [block_size.to_be_bytes(), block_size.to_be_bytes()].concat();
    [
        &b"fLaC\x80\0\0\x22"[..],
        &sizes,
        &[0; 3],
        &max_frame_bytes.to_be_bytes()[1..],
        &fields.to_be_bytes(),
        &[0; 16],
    ]
    .concat()
}

/// Returns a FLAC frame with a correct header: 16 kHz, and `n_samples` samples in `channels` constant subframes.
pub fn flac_frame(number: u8, n_samples: u16, channels: u8) -> Vec<u8> {
    let mut frame = vec![0xff, 0xf8, 0x75, (channels - 1) << 4 | 0x08, number & 0x7f];
    frame.extend((n_samples - 1).to_be_bytes());
    frame.push(crc(8, 0x07, &frame) as u8);
    frame.extend([0, 0, 0].repeat(channels.into()));
    frame.extend((crc(16, 0x8005, &frame) as u16).to_be_bytes());
    frame
}

/// Computes a cyclic redundancy check of `bits` bits: most significant bit first, initial value zero.
pub fn crc(bits: u32, polynomial: u32, bytes: &[u8]) -> u32 {
    let top = 1 << (bits - 1);
    let mask = u32::MAX >> (32 - bits);
    let shift = |crc: u32| ((crc << 1) ^ if crc & top == 0 { 0 } else { polynomial }) & mask;
    let add = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte) << (bits - 8), |crc, _| shift(crc));
    bytes.iter().fold(0, add)
}

fn flac(numbers: &mut Numbers<'_>) -> Vec<u8> {
    let channels = numbers.count(7) as u8 + 1;
    let sizes = (numbers.number(4_096) as u16, numbers.number(0) as u32);
    let mut file = flac_head(sizes.0, sizes.1, channels, numbers.number(4_096));
    if numbers.count(3) == 0 {
        // A picture that announces this length, before STREAMINFO.
        let length = numbers.be32(10);
        file.splice(4..4, [&[6][..], &length[1..], &numbers.content(32)].concat());
    }
    for number in 0..numbers.count(12) {
        let frame = flac_frame(number as u8, (numbers.number(4_096) as u16).max(1), channels);
        let len = frame.len() - numbers.count(3).min(frame.len());
        file.extend(&frame[..len]);
        if numbers.count(5) == 0 {
            file.extend(numbers.content(32));
        }
    }
    file
}

fn aiff(numbers: &mut Numbers<'_>) -> Vec<u8> {
    let codec: &[u8; 4] = [b"NONE", b"ima4", b"ulaw", b"fl32"][numbers.count(3)];
    let rate = [0x40, 0x0c, 0xfa, 0, 0, 0, 0, 0, 0, 0];
    let common = [&numbers.be16(1)[..], &numbers.be32(100), &numbers.be16(16), &rate, codec].concat();
    let sound = [&numbers.be32(0)[..], &[0; 4], &numbers.content(256)].concat();
    let length = numbers.be32(sound.len() as u64);
    let chunks =
        [&b"AIFCCOMM"[..], &(common.len() as u32).to_be_bytes(), &common, b"SSND", &length, &sound].concat();
    [&b"FORM"[..], &(chunks.len() as u32).to_be_bytes(), &chunks].concat()
}
