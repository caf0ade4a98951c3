//! How a page of a query is asked for.

/// Where a page begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Start<'a> {
    /// At the first sort key with the prefix.
    First,
    /// After this one, which has the prefix.
    After(&'a str),
    /// After all that have the prefix: there is no page.
    PastEnd,
}

/// Where the page after a sort key begins. DynamoDB refuses to start at a key that the query can't return.
///
/// | after | start |
/// |---|---|
/// | none | first |
/// | has the prefix | after it |
/// | before all that have the prefix | first |
/// | behind all that have the prefix | past the end |
pub(super) fn start<'a>(prefix: &str, after: Option<&'a str>) -> Start<'a> {
    match after {
        None => Start::First,
        Some(after) if after.starts_with(prefix) && !after.is_empty() => Start::After(after),
        Some(after) if after.as_bytes() <= prefix.as_bytes() => Start::First,
        Some(_) => Start::PastEnd,
    }
}

/// The condition of a query; an empty text may be no value in it.
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
