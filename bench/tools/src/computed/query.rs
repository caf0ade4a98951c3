//! Parameters of requests.

use std::collections::BTreeMap;

use hyper::Uri;
use percent_encoding::percent_decode_str;

/// The parameters of a request, decoded.
#[derive(Debug, Default)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads those of a URL.
    pub fn of(uri: &Uri) -> Self {
        let pairs = uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(&value.replace('+', " ")))
        };
        Self(pairs.map(pair).collect())
    }

    /// Returns true if a parameter is there, with a value or without.
    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Returns the value of a parameter that is a number; `None` if it is missing or none.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }
}

/// Returns a text without its percent-encoding.
pub fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::of(&"/b?uploads&prefix=a%2Fb+c&max-keys=7".parse().unwrap());
        assert!(query.has("uploads") && !query.has("upload"));
        assert_eq!((query.get("prefix"), query.number("max-keys")), (Some("a/b c"), Some(7_u32)));
        assert_eq!(query.number::<u32>("prefix"), None);
    }
}
