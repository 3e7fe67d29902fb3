//! Frames and the fields inside them (docs/guest-protocol.md §5). Pure functions without I/O.

pub const VERSION: u8 = 1;
pub const HEADER_BYTES: usize = 8;
pub const FRAME_BYTES_MAX: usize = 256 * 1024;
pub const PAYLOAD_BYTES_MAX: usize = FRAME_BYTES_MAX - HEADER_BYTES;

/// Violation of the protocol by the other side; names the rule that was broken.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

pub type Parsed<T> = Result<T, Malformed>;

pub struct Header {
    pub kind: u8,
    pub process: u16,
}

pub fn encode_header(kind: u8, process: u16, length: usize) -> [u8; HEADER_BYTES] {
    assert!(length <= PAYLOAD_BYTES_MAX, "a frame is never larger than both sides agreed on");
    let (process, length) = (process.to_le_bytes(), (length as u32).to_le_bytes());
    [VERSION, kind, process[0], process[1], length[0], length[1], length[2], length[3]]
}

/// Returns header and payload of the first frame in `bytes`, and the length of both together. None while it is incomplete.
pub fn decode(bytes: &[u8]) -> Parsed<Option<(Header, &[u8], usize)>> {
    if bytes.len() < HEADER_BYTES {
        return Ok(None);
    }
    if bytes[0] != VERSION {
        return Err(Malformed("a frame of another version"));
    }
    let length = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]) as usize;
    if length > PAYLOAD_BYTES_MAX {
        return Err(Malformed("a frame longer than allowed"));
    }
    let end = HEADER_BYTES + length;
    if bytes.len() < end {
        return Ok(None);
    }
    let header = Header { kind: bytes[1], process: u16::from_le_bytes([bytes[2], bytes[3]]) };
    Ok(Some((header, &bytes[HEADER_BYTES..end], end)))
}

/// Reads the fields of a payload one after the other.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(payload: &'a [u8]) -> Self {
        Reader { rest: payload }
    }

    pub fn take(&mut self, count: usize) -> Parsed<&'a [u8]> {
        if count > self.rest.len() {
            return Err(Malformed("a payload shorter than its fields"));
        }
        let (head, rest) = self.rest.split_at(count);
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Parsed<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    pub fn u8(&mut self) -> Parsed<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub fn u16(&mut self) -> Parsed<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub fn u32(&mut self) -> Parsed<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub fn u64(&mut self) -> Parsed<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub fn bytes(&mut self) -> Parsed<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    /// Reads bytes that can become a C string.
    pub fn text(&mut self) -> Parsed<Vec<u8>> {
        let bytes = self.bytes()?;
        if bytes.contains(&0) {
            return Err(Malformed("a text with a NUL byte"));
        }
        Ok(bytes.to_vec())
    }

    pub fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let count = self.u32()?;
        (0..count).map(|_| item(self)).collect()
    }

    pub fn end(&self) -> Parsed<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed("a payload longer than its fields"))
        }
    }
}

/// Appends one frame to `out`, its payload written field by field.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut Vec<u8>, kind: u8, process: u16) -> Self {
        let start = out.len();
        out.extend_from_slice(&encode_header(kind, process, 0));
        Writer { out, start }
    }

    pub fn u8(self, value: u8) -> Self {
        self.out.push(value);
        self
    }

    pub fn u32(self, value: u32) -> Self {
        self.out.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn i32(self, value: i32) -> Self {
        self.out.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn u64(self, value: u64) -> Self {
        self.out.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub fn bytes(self, value: &[u8]) -> Self {
        let this = self.u32(value.len() as u32);
        this.out.extend_from_slice(value);
        this
    }

    pub fn raw(self, value: &[u8]) -> Self {
        self.out.extend_from_slice(value);
        self
    }

    pub fn finish(self) {
        let length = self.out.len() - self.start - HEADER_BYTES;
        assert!(length <= PAYLOAD_BYTES_MAX, "a frame is never larger than both sides agreed on");
        self.out[self.start + 4..self.start + HEADER_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    }
}
