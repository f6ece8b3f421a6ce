//! Paths and queries, escaped.

use std::fmt::Write as _;

/// A path below `/1.0` with a query.
#[derive(Clone, Debug)]
pub(crate) struct Url {
    text: String,
    has_query: bool,
}

impl Url {
    /// `/1.0/SEGMENT/…`, each segment escaped.
    pub(crate) fn new<'s>(segments: impl IntoIterator<Item = &'s str>) -> Self {
        let mut text = "/1.0".to_owned();
        for segment in segments {
            text.push('/');
            escape(segment, &mut text);
        }
        Self { text, has_query: false }
    }

    /// A path that the server named, as it stands.
    pub(crate) fn given(path: &str) -> Self {
        Self { text: path.to_owned(), has_query: path.contains('?') }
    }

    #[must_use]
    pub(crate) fn query(mut self, key: &str, value: &str) -> Self {
        self.text.push(if self.has_query { '&' } else { '?' });
        self.has_query = true;
        escape(key, &mut self.text);
        self.text.push('=');
        escape(value, &mut self.text);
        self
    }

    #[must_use]
    pub(crate) fn query_if(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(key, value),
            None => self,
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// What errors may show: the query can hold the secret of a websocket.
    pub(crate) fn without_query(&self) -> &str {
        self.text.split('?').next().unwrap_or_default()
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986, 2.3.
fn escape(text: &str, to: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                to.push(char::from(byte));
            }
            _ => write!(to, "%{byte:02X}").expect("a string takes everything"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_and_values_are_escaped() {
        let url = Url::new(["instances", "a/b?", "files"]).query("path", "/ä b&c").query("x", "1");
        assert_eq!(url.as_str(), "/1.0/instances/a%2Fb%3F/files?path=%2F%C3%A4%20b%26c&x=1");
        assert_eq!(url.without_query(), "/1.0/instances/a%2Fb%3F/files");
        assert_eq!(Url::given("/1.0/a?x=1").query("b", "2").as_str(), "/1.0/a?x=1&b=2");
    }
}
