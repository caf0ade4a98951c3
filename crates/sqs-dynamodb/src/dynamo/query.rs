//! Start key and condition of a page of a query.

/// Start of a page.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start<'a> {
    /// First sort key with the prefix.
    First,
    /// After this sort key, which has the prefix.
    After(&'a str),
    /// After every sort key with the prefix: there is no page to read.
    PastEnd,
}

/// Returns where the page after a sort key starts. DynamoDB rejects a start key that the query can't return.
///
/// | after | start |
/// |---|---|
/// | none | first |
/// | has the prefix | after it |
/// | sorts before every key with the prefix | first |
/// | sorts after every key with the prefix | past the end |
pub(super) fn start<'a>(prefix: &str, after: Option<&'a str>) -> Start<'a> {
    match after {
        None => Start::First,
        Some(after) if after.starts_with(prefix) && !after.is_empty() => Start::After(after),
        Some(after) if after.as_bytes() <= prefix.as_bytes() => Start::First,
        Some(_) => Start::PastEnd,
    }
}

/// Returns the key condition of a query. DynamoDB rejects an empty string as a key value, so an empty prefix is left
/// out.
pub(super) fn condition(prefix: &str) -> &'static str {
    if prefix.is_empty() { "#0 = :0" } else { "#0 = :0 AND begins_with(#1, :1)" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_as_the_table_says() {
        for (prefix, after, expected) in [
            ("b/", None, Start::First),
            ("b/", Some("b/1"), Start::After("b/1")),
            ("b/", Some("b/"), Start::After("b/")),
            ("b/", Some("a"), Start::First),
            ("b/", Some("b"), Start::First),
            ("b/", Some("c"), Start::PastEnd),
            ("", Some("c"), Start::After("c")),
            ("", Some(""), Start::First),
        ] {
            assert_eq!(start(prefix, after), expected, "{prefix} {after:?}");
        }
    }
}
