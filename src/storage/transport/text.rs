//! User metadata values as HTTP headers.
//!
//! Both clouds keep a header's value as it came, and neither promises more than visible ASCII (OSS refuses others with
//! EC 0011-00000005). A value beyond that is written as RFC 2047 encoded-words, which is also how S3 shows such a value to its
//! readers; a value that merely looks like one is encoded as well, so that every string comes back as it was.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::HeaderValue;

/// Writes a value.
pub(in crate::storage) fn encode(value: &str) -> HeaderValue {
    let plain = value.bytes().all(|b| (b' '..=b'~').contains(&b)) && value.trim_matches(' ') == value && !value.starts_with("=?");
    let text = if plain { value.to_owned() } else { format!("=?UTF-8?B?{}?=", BASE64.encode(value)) };
    HeaderValue::try_from(text).expect("only visible ASCII and spaces are left")
}

/// Tags as both clouds take them in a header: `name=value&name=value`, each percent-encoded.
pub(in crate::storage) fn tags(tags: &BTreeMap<String, String>) -> String {
    let encode = |text: &str| super::target::encode_query(text.as_bytes()).to_string();
    tags.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect::<Vec<_>>().join("&")
}

/// Reads any header as it stands: UTF-8, or else ISO 8859-1, which HTTP once meant.
pub(in crate::storage) fn plain(value: &HeaderValue) -> String {
    std::str::from_utf8(value.as_bytes()).map_or_else(|_| value.as_bytes().iter().map(|b| char::from(*b)).collect(), str::to_owned)
}

/// Reads a metadata value, whoever wrote it: encoded-words, or as it stands.
pub(in crate::storage) fn decode(value: &HeaderValue) -> String {
    let text = plain(value);
    if text.starts_with("=?") {
        let words: Option<Vec<Vec<u8>>> = text.split_ascii_whitespace().map(decode_word).collect();
        // A character may be split over two words, so the bytes are joined first.
        if let Some(decoded) = words.and_then(|w| String::from_utf8(w.concat()).ok()) {
            return decoded;
        }
    }
    text
}

/// `=?UTF-8?B?...?=` or `=?UTF-8?Q?...?=`.
fn decode_word(word: &str) -> Option<Vec<u8>> {
    let mut fields = word.strip_prefix("=?")?.strip_suffix("?=")?.splitn(3, '?');
    let (charset, encoding, text) = (fields.next()?, fields.next()?, fields.next()?);
    if !charset.eq_ignore_ascii_case("utf-8") {
        return None;
    }
    match encoding {
        "B" | "b" => BASE64.decode(text).ok(),
        "Q" | "q" => super::target::decode_percent(&text.replace('%', "%25").replace('_', "%20").replace('=', "%")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_values_stay_and_foreign_ones_are_understood() {
        assert_eq!(encode("a b; c=\"d\""), "a b; c=\"d\"");
        assert_eq!(encode("中"), "=?UTF-8?B?5Lit?=");
        for (wire, text) in [
            (&b"=?utf-8?Q?a=E4=B8=AD_b%?="[..], "a中 b%"),
            (b"=?UTF-8?B?5Lit?= =?UTF-8?B?5paH?=", "中文"),
            ("中".as_bytes(), "中"),
            (b"caf\xe9", "café"),
            (b"=?what?", "=?what?"),
        ] {
            assert_eq!(decode(&HeaderValue::from_bytes(wire).expect("a header")), text);
        }
    }

    proptest! {
        #[test]
        fn every_string_comes_back(value in "\\PC{0,20}|[ -~\t\r\n]{0,20}|=\\?UTF-8\\?B\\?[a-z]{0,4}\\?=") {
            prop_assert_eq!(decode(&encode(&value)), value);
        }
    }
}
