//! Requests as they arrive, and what may happen to them.

use hyper::Method;
use serde_json::Value;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct ApiRequest {
    /// Method.
    pub method: Method,
    /// Path.
    pub path: String,
    /// Query, decoded.
    pub query: String,
    /// Body; null if it has none, or none in JSON.
    pub body: Value,
}

impl ApiRequest {
    /// Reads a request.
    pub fn new(method: Method, path: &str, query: &str, body: &[u8]) -> Self {
        let query =
            [("%2F", "/"), ("%3D", "="), ("%2C", ",")].iter().fold(query.to_owned(), |q, (a, b)| q.replace(a, b));
        Self { method, path: path.to_owned(), query, body: serde_json::from_slice(body).unwrap_or(Value::Null) }
    }

    /// Returns a parameter of the query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').filter_map(|part| part.split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| value)
    }
}

/// What happens to a request in place of the usual answer.
#[derive(Clone, Copy, Debug)]
pub enum ApiFault {
    /// It is answered with this status and message, and not carried out.
    Refused(u16, &'static str),
    /// It is answered that this field is invalid, and not carried out.
    Invalid(&'static str),
    /// The connection breaks before it is carried out.
    Lost,
    /// It is carried out, and the connection breaks before the answer.
    AnswerLost,
}

/// Returns the path of the object or collection, the object's name, and the subresource.
pub(super) fn parse(path: &str) -> (String, Option<&str>, Option<&str>) {
    let parts: Vec<_> = path.split('/').collect();
    let namespace = parts.iter().position(|part| *part == "namespaces").unwrap_or_default();
    let (name, subresource) = (parts.get(namespace + 3).copied(), parts.get(namespace + 4).copied());
    let end = (namespace + 4).min(parts.len());
    (parts[..end].join("/"), name, subresource)
}
