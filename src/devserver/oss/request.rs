//! A request as it came over the wire: method, headers, query and what it addresses, before anything is decided.

use http::request::Parts;
use http::{HeaderMap, Method};
use percent_encoding::percent_decode;

use super::address::{Address, Addressing};
use super::error::{OssError, OssResult};
use crate::devserver::weather::IgnoreRange;

/// The head of a request, its address resolved and its query decoded.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Query,
    /// The host without its port, in lower case.
    pub(crate) host: String,
    /// Where this server can be reached again, where that is known: the address that the request went to.
    pub(crate) endpoint: Option<String>,
    pub(crate) bucket: Option<String>,
    /// The key as decoded bytes; never normalised.
    pub(crate) key: Option<Vec<u8>>,
    /// The weather makes this server blind to `Range`.
    pub(crate) ignores_range: bool,
}

impl Head {
    /// Resolves the address (protocol.md 2.1) and decodes the query.
    pub(crate) fn read(request: Parts, addressing: &Addressing) -> OssResult<Self> {
        let Parts { method, uri, headers, extensions, .. } = request;
        let ignores_range = extensions.get::<IgnoreRange>().is_some();
        let authority = match headers.get(http::header::HOST) {
            Some(host) => host.to_str().map_err(|_| OssError::new(400, "InvalidRequest", "The Host header is not valid."))?,
            None => uri.authority().map_or("", |a| a.as_str()),
        };
        let Address { host, is_path_style, bucket, key } = addressing.resolve(authority, uri.path())?;
        let endpoint = (is_path_style && !authority.is_empty()).then(|| format!("http://{authority}"));
        Ok(Self { method, query: Query::parse(uri.query().unwrap_or("")), headers, host, endpoint, bucket, key, ignores_range })
    }

    /// A header as text; one that is not ASCII counts as malformed.
    pub(crate) fn header(&self, name: &str) -> OssResult<Option<&str>> {
        match self.headers.get(name) {
            None => Ok(None),
            Some(value) => match value.to_str() {
                Ok(text) => Ok(Some(text.trim())),
                Err(_) => Err(OssError::bad_value(name, "", "The header value is not valid.")),
            },
        }
    }

    /// A header that holds a whole number.
    pub(crate) fn header_number(&self, name: &str) -> OssResult<Option<u64>> {
        self.header(name)?.map(|text| text.parse().map_err(|_| OssError::bad_value(name, text, "The value must be a whole number."))).transpose()
    }
}

/// The query's parameters in the order of the wire, decoded by form rules: OSS2 writes a space as `+`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(Vec<u8>, Vec<u8>)>);

impl Query {
    pub(crate) fn parse(raw: &str) -> Self {
        let decode = |text: &str| -> Vec<u8> {
            let spaced: Vec<u8> = text.bytes().map(|b| if b == b'+' { b' ' } else { b }).collect();
            percent_decode(&spaced).collect()
        };
        let pairs = raw.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// The pairs, decoded.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_slice(), value.as_slice()))
    }

    /// Whether the parameter is there, with or without a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.bytes(name).is_some()
    }

    /// The parameter's value, empty for a bare flag.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.pairs().find(|(n, _)| *n == name.as_bytes()).map(|(_, value)| value)
    }

    /// The parameter's value as text; refused where it is not UTF-8.
    pub(crate) fn text(&self, name: &str) -> OssResult<Option<&str>> {
        self.bytes(name)
            .map(|value| std::str::from_utf8(value).map_err(|_| OssError::bad_value(name, String::from_utf8_lossy(value), "The value must be UTF-8.")))
            .transpose()
    }

    /// A parameter that holds a whole number; empty counts as absent.
    pub(crate) fn number(&self, name: &str) -> OssResult<Option<u64>> {
        match self.text(name)? {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| OssError::bad_value(name, text, "The value must be a whole number.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_by_form_rules_and_keeps_bare_flags() {
        let query = Query::parse("prefix=a+b%2Bc&acl&delete=&%7Cx=%E4%B8%AD");
        assert_eq!(query.bytes("prefix"), Some(&b"a b+c"[..]));
        assert!(query.has("acl") && query.has("delete") && !query.has("uploads"));
        assert_eq!(query.text("|x").unwrap(), Some("\u{4E2D}"));
        assert_eq!(Query::parse("max-keys=ten").number("max-keys").unwrap_err().code, "InvalidArgument");
        assert_eq!(Query::parse("n=%FF").text("n").unwrap_err().code, "InvalidArgument");
    }
}
