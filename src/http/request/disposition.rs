//! `Content-Disposition` of a form's parts: RFC 7578, section 4.2.

use axum::http::HeaderMap;
use axum::http::header::CONTENT_DISPOSITION;

/// The name of a form's part, and of its file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::http) struct Disposition {
    pub(in crate::http) name: String,
    pub(in crate::http) file_name: Option<String>,
}

impl Disposition {
    /// Reads a part's headers. The names of parameters are case-insensitive, and a value may look like another parameter.
    pub(in crate::http) fn from_headers(headers: &HeaderMap) -> Self {
        let value = headers.get(CONTENT_DISPOSITION).map_or(&b""[..], |value| value.as_bytes());
        let value = String::from_utf8_lossy(value);
        let mut disposition = Self::default();
        let mut rest = value.split_once(';').map_or("", |(_, parameters)| parameters);
        while let Some((name, after)) = rest.split_once('=') {
            let (value, after) = parameter_value(after);
            match name.trim_matches([' ', '\t', ';']).to_ascii_lowercase().as_str() {
                "name" => disposition.name = value,
                "filename" => disposition.file_name = Some(value),
                "filename*" => {
                    disposition.file_name.get_or_insert_with(|| extended(&value));
                }
                _ => {}
            }
            rest = after;
        }
        disposition
    }
}

/// Decodes a value with encoding and language, RFC 8187: `UTF-8''r%C3%A9union.wav`.
fn extended(value: &str) -> String {
    let value = value.rsplit('\'').next().unwrap_or_default();
    percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()
}

/// Returns the value at the start of a text, which is quoted or ends at a semicolon. Also returns the rest of the text.
fn parameter_value(text: &str) -> (String, &str) {
    let text = text.trim_start();
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        return (value.trim().to_owned(), rest);
    };
    let (mut value, mut characters) = (String::new(), quoted.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[at + 1..]),
            // Some clients send Windows paths, whose backslashes are not escapes.
            '\\' if quoted[at + 1..].starts_with(['"', '\\']) => {
                value.extend(characters.next().map(|(_, escaped)| escaped));
            }
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parts_name_is_found_however_it_is_written() {
        let cases = [
            ("form-data; name=\"file\"; filename=\"a.wav\"", "file", Some("a.wav")),
            ("form-data; Name=\"file\"", "file", None),
            (
                "form-data; filename=\"name=\\\"channel\\\".wav\"; name=\"file\"",
                "file",
                Some("name=\"channel\".wav"),
            ),
            ("form-data; filename=\"x; name=channel\"; name=file", "file", Some("x; name=channel")),
            ("form-data;NAME=file;filename*=UTF-8''r%C3%A9union.wav", "file", Some("réunion.wav")),
            ("form-data; filename=\"C:\\a.wav\"; name=\"file\"", "file", Some("C:\\a.wav")),
            ("form-data", "", None),
            ("form-data; name=\"file", "file", None),
        ];
        for (text, name, file_name) in cases {
            let headers = HeaderMap::from_iter([(CONTENT_DISPOSITION, text.parse().unwrap())]);
            let file_name = file_name.map(str::to_owned);
            assert_eq!(
                Disposition::from_headers(&headers),
                Disposition { name: name.into(), file_name },
                "{text}"
            );
        }
    }
}
