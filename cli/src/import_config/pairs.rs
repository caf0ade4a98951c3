//! Converts the bucket list to pairs, and divides them among jobs that the API server accepts.

use migration_core::pair::{BucketPair, PrefixMode};

use super::found::{Left, Rule};

/// Most pairs of one job. Source: `spec.buckets` of the resource.
const PAIRS: usize = 50;

/// A pair, and what is said of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The pair.
    pub pair: BucketPair,
    /// What is different for it.
    pub comments: Vec<String>,
}

/// Pairs by job, and what of the list is not taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pairs {
    /// The pairs of each job.
    pub jobs: Vec<Vec<Pair>>,
    /// What is not taken over.
    pub left: Vec<Left>,
}

/// Converts the list. Pairs whose destinations overlap go into different jobs, since one job may not write the same
/// keys twice; the predecessor allowed it. `same_service` tells whether both sides are in one AWS partition, so that a
/// bucket name means the same bucket on both.
pub fn convert(rules: &[Rule], same_service: bool) -> Pairs {
    let mut pairs = Pairs::default();
    for (place, rule) in rules.iter().enumerate() {
        let refuse = |reason: &str| Left::new(rule.shown(), reason);
        let twin = rules.iter().take(place).find(|other| pair(other).pair == pair(rule).pair);
        if twin.is_some() {
            pairs.left.push(refuse("it repeats an earlier entry"));
            continue;
        }
        let new = pair(rule);
        if ![&new.pair.source_bucket, &new.pair.destination_bucket].into_iter().all(|name| is_bucket(name)) {
            pairs.left.push(refuse("a bucket's name is not one that S3 accepts"));
        } else if same_service && feeds(&new.pair, &new.pair) {
            pairs.left.push(refuse("its copies would lie among what it copies, so that it would copy its own copies"));
        } else {
            place_pair(&mut pairs.jobs, new, same_service);
        }
    }
    pairs
}

/// Adds a pair to the first job in which it fits, or to a new one.
fn place_pair(jobs: &mut Vec<Vec<Pair>>, pair: Pair, same_service: bool) {
    let fits = |job: &Vec<Pair>| {
        let collides = |other: &Pair| {
            writes_the_same(&other.pair, &pair.pair)
                || same_service && (feeds(&other.pair, &pair.pair) || feeds(&pair.pair, &other.pair))
        };
        job.len() < PAIRS && !job.iter().any(collides)
    };
    match jobs.iter_mut().find(|job| fits(job)) {
        Some(job) => job.push(pair),
        None => jobs.push(vec![pair]),
    }
}

fn overlap(a: &str, b: &str) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

fn writes_the_same(a: &BucketPair, b: &BucketPair) -> bool {
    a.destination_bucket == b.destination_bucket && overlap(&a.destination_range(), &b.destination_range())
}

/// Returns true if copies of one pair are among the objects that the other copies.
fn feeds(writer: &BucketPair, reader: &BucketPair) -> bool {
    writer.destination_bucket == reader.source_bucket && overlap(&writer.destination_range(), &reader.source_prefix)
}

/// Source: "General purpose bucket naming rules" in the S3 user guide, as the resource's schema has them.
fn is_bucket(name: &str) -> bool {
    let of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (3..=63).contains(&name.len())
        && name.chars().all(|c| of_name(c) || matches!(c, '.' | '-'))
        && name.starts_with(of_name)
        && name.ends_with(of_name)
        && !name.contains("..")
}

fn pair(rule: &Rule) -> Pair {
    let mut comments = Vec::new();
    let source_prefix = if rule.src_prefix == "/" {
        comments.push("src_prefix = /: no prefix".to_owned());
        String::new()
    } else {
        rule.src_prefix.clone()
    };
    if !source_prefix.is_empty() && !source_prefix.ends_with('/') {
        comments
            .push("sourcePrefix has no / at its end: as before, it also means folders that only begin with it".into());
    }
    let destination_prefix = destination_prefix(&rule.des_prefix, &mut comments);
    let pair = BucketPair {
        source_bucket: rule.src_bucket.clone(),
        source_prefix,
        destination_bucket: rule.des_bucket.clone(),
        destination_prefix,
        prefix_mode: PrefixMode::Append,
    };
    Pair { pair, comments }
}

/// Returns the prefix with the `/` that the predecessor put between it and the key: it joined them as Python's
/// `PurePosixPath` does, which also removes empty and `.` components.
fn destination_prefix(des_prefix: &str, comments: &mut Vec<String>) -> String {
    let shown = super::yaml::shown(des_prefix);
    if des_prefix == "/" {
        comments.push(
            "des_prefix = / meant no prefix, but the predecessor wrote keys that begin with /, and copied them again \
             each time; such copies are not looked at: write \"/\" here if they are to be kept up to date"
                .to_owned(),
        );
        return String::new();
    }
    let parts: Vec<_> = des_prefix.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    // Exactly two slashes at the begin stay, one or more than two become one.
    let root = match des_prefix.len() - des_prefix.trim_start_matches('/').len() {
        0 => "",
        2 => "//",
        _ => "/",
    };
    let prefix = if parts.is_empty() { root.to_owned() } else { format!("{root}{}/", parts.join("/")) };
    if prefix != des_prefix && prefix.strip_suffix('/') != Some(des_prefix) {
        comments.push(format!("des_prefix = {shown}: the predecessor wrote its keys under this prefix"));
    } else if des_prefix.ends_with('/') {
        comments.push(format!(
            "des_prefix = {shown}: because of the / at its end the predecessor found none of its copies, and made \
             them again each time; they are found now"
        ));
    } else if prefix != des_prefix {
        comments.push(format!("des_prefix = {shown}: with the / that the predecessor put after it"));
    }
    prefix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(number: usize, src: (&str, &str), des: (&str, &str)) -> Rule {
        let [src_bucket, src_prefix, des_bucket, des_prefix] = [src.0, src.1, des.0, des.1].map(ToOwned::to_owned);
        Rule { number, src_bucket, src_prefix, des_bucket, des_prefix }
    }

    #[test]
    fn keys_are_where_the_predecessor_put_them() {
        // The expected keys are those of Python's str(PurePosixPath(des_prefix) / key).
        for (des_prefix, key, expected) in [
            ("", "a/b", "a/b"),
            ("pre", "a/b", "pre/a/b"),
            ("pre/", "a", "pre/a"),
            ("a/b", "k", "a/b/k"),
            ("a//b", "k", "a/b/k"),
            ("./a/./b/", "k", "a/b/k"),
            ("/a", "k", "/a/k"),
            ("//a", "k", "//a/k"),
            ("///a", "k", "/a/k"),
            (".", "k", "k"),
            ("a/..", "k", "a/../k"),
        ] {
            let pair = pair(&rule(1, ("src", ""), ("des", des_prefix))).pair;
            assert_eq!(pair.map_key(key).unwrap(), expected, "{des_prefix}");
        }
        let slashes = pair(&rule(1, ("src", "/"), ("des", "/")));
        assert_eq!((slashes.pair.map_key("k").unwrap(), slashes.comments.len()), ("k".to_owned(), 2));
    }

    #[test]
    fn the_source_prefix_stays_a_string() {
        for (src_prefix, expected, comments) in [("photo", "photo", 1), ("photo/", "photo/", 0), ("/x", "/x", 1)] {
            let pair = pair(&rule(1, ("src", src_prefix), ("des", "")));
            assert_eq!((pair.pair.source_prefix.as_str(), pair.comments.len()), (expected, comments));
        }
    }

    #[test]
    fn pairs_that_the_api_server_refuses_together_go_into_different_jobs() {
        let rules = [
            rule(1, ("aaa", ""), ("out", "")),
            rule(2, ("bbb", ""), ("out", "b")),
            rule(3, ("ccc", ""), ("ddd", "")),
            rule(4, ("aaa", ""), ("out", "")),
            rule(5, ("A_b", ""), ("out", "x")),
        ];
        let found = convert(&rules, false);
        let sources: Vec<Vec<_>> =
            found.jobs.iter().map(|job| job.iter().map(|pair| pair.pair.source_bucket.as_str()).collect()).collect();
        assert_eq!(sources, [vec!["aaa", "ccc"], vec!["bbb"]]);
        let reasons: Vec<_> = found.left.iter().map(|left| left.reason.as_str()).collect();
        assert_eq!(reasons, ["it repeats an earlier entry", "a bucket's name is not one that S3 accepts"]);
    }

    #[test]
    fn no_job_copies_its_own_copies() {
        let rules = [
            rule(1, ("aaa", ""), ("aaa", "copy")),
            rule(2, ("bbb", ""), ("ccc", "")),
            rule(3, ("ccc", ""), ("ddd", "")),
        ];
        let found = convert(&rules, true);
        assert_eq!((found.jobs.len(), found.left.len()), (2, 1));
        // In another partition the names mean other buckets.
        assert_eq!(convert(&rules, false).jobs.len(), 1);
    }

    #[test]
    fn a_job_has_50_pairs_at_most() {
        let rules: Vec<_> = (0..120).map(|n| rule(n, ("src", ""), ("des", &format!("p{n:03}")))).collect();
        assert_eq!(convert(&rules, false).jobs.iter().map(Vec::len).collect::<Vec<_>>(), [50, 50, 20]);
    }
}
