//! Formats of numbers and bytes in responses and files.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// Rounds a number to `decimals` decimals.
pub fn round_to(number: f64, decimals: i32) -> f64 {
    let scale = 10_f64.powi(decimals);
    // Adding 0 turns -0 into 0.
    (number * scale).round() / scale + 0.0
}

/// Rounds seconds to milliseconds.
pub fn milliseconds(seconds: f64) -> f64 {
    round_to(seconds, 3)
}

/// Returns bytes as hexadecimal digits in lower case.
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)])).collect()
}

/// Returns the bytes of an even number of hexadecimal digits in either case.
pub fn bytes_of_hex(text: &str) -> Option<Vec<u8>> {
    let (digits, rest) = text.as_bytes().as_chunks::<2>();
    let value = |digit: &u8| char::from(*digit).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| Some((value(high)? << 4 | value(low)?) as u8);
    if rest.is_empty() { digits.iter().map(byte).collect() } else { None }
}

/// Encodes numbers as base64 of little-endian `f32`.
pub fn base64_of(numbers: &[f32]) -> String {
    let bytes: Vec<[u8; 4]> = numbers.iter().map(|number| number.to_le_bytes()).collect();
    BASE64_STANDARD.encode(bytes.as_flattened())
}

/// Decodes the numbers of [`base64_of`]. The error describes the fault in the text.
pub fn numbers_of_base64(text: &str) -> Result<Vec<f32>, String> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|error| format!("not valid base64: {error}"))?;
    let (numbers, rest) = bytes.as_chunks();
    if !rest.is_empty() {
        return Err(format!("{} bytes are not whole numbers of 4", bytes.len()));
    }
    Ok(numbers.iter().map(|number| f32::from_le_bytes(*number)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_rounded_to_minus_0() {
        assert!(milliseconds(-1e-9).is_sign_positive() && milliseconds(-0.0).is_sign_positive());
        assert_eq!((milliseconds(1.0016), milliseconds(-1.0016)), (1.002, -1.002));
    }

    #[test]
    fn hexadecimal_digits_are_bytes() {
        assert_eq!((hex(&[0xab, 0x01]).as_str(), bytes_of_hex("aB01")), ("ab01", Some(vec![0xab, 0x01])));
        for text in ["a", "+1", "0x", "g0", "é"] {
            assert_eq!(bytes_of_hex(text), None, "{text}");
        }
    }
}
