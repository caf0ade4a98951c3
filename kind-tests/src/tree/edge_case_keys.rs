//! Keys that tools commonly mishandle, each with its own small content.

use super::Object;

/// Returns objects with such keys. All fit under an empty destination prefix.
pub fn objects() -> Vec<Object> {
    keys().into_iter().enumerate().map(|(n, key)| with_traits(n, key)).collect()
}

fn keys() -> Vec<String> {
    let mut keys: Vec<String> = [
        "awkward/with space",
        "awkward/ leading space",
        "awkward/trailing space ",
        "awkward/two  spaces",
        "awkward/plus+sign",
        "awkward/a+b c+d",
        "awkward/%41",
        "awkward/%2F%25%",
        "awkward/ampersand&and",
        "awkward/hash#tag",
        "awkward/question?mark=1&x=2",
        "awkward/single'quote",
        "awkward/double\"quote",
        "awkward/back`tick",
        "awkward/back\\slash",
        "awkward/semi;colon:and,comma",
        "awkward/at@equals=dollar$",
        "awkward/star*tilde~bang!",
        "awkward/(round)[square]{curly}",
        "awkward/<angle>|pipe^caret",
        // The same letter composed and decomposed: two keys.
        "awkward/caf\u{e9}",
        "awkward/cafe\u{301}",
        "awkward/\u{4f60}\u{597d}/\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}",
        "awkward/\u{1f600}\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467}",
        "awkward/\u{627}\u{644}\u{639}\u{631}\u{628}\u{64a}\u{629}",
        "awkward//double//slash",
        "awkward/./dot/./segment",
        "awkward/../dotdot",
        "awkward/..",
        "awkward/.",
        "awkward/folder/",
        "awkward/folder/child",
        "/awkward/leading slash",
        "//awkward/two leading slashes",
        "awkward/Case",
        "awkward/case",
        "awkward/CASE",
        "awkward/dir.tmpl",
        "awkward/-dash",
        "awkward/\u{7f}delete",
        "awkward/null",
        "awkward/new",
        "awkward/new/inside",
    ]
    .map(str::to_owned)
    .into();
    // The longest keys that S3 accepts, with one and with three bytes per character.
    keys.push(longest("awkward/long-ascii-", "x"));
    keys.push(longest("awkward/long-unicode-", "\u{20ac}"));
    keys
}

/// Returns a key of exactly 1,024 bytes.
pub fn longest(prefix: &str, unit: &str) -> String {
    let left = 1_024 - prefix.len();
    format!("{prefix}{}{}", unit.repeat(left / unit.len()), "y".repeat(left % unit.len()))
}

fn with_traits(n: usize, key: String) -> Object {
    // Every third one is empty, like the folder markers that consoles create.
    let text = if n.is_multiple_of(3) || key.ends_with('/') { String::new() } else { format!("{n}: {key}\n") };
    let mut object = Object::of_bytes(key, text);
    "text/plain; charset=utf-8".clone_into(&mut object.headers.content_type);
    if n.is_multiple_of(2) {
        object.tags = vec![
            ("team".into(), "data & storage".into()),
            ("path".into(), "a/b=c+d@e:f_g-h".into()),
            ("gr\u{fc}\u{df}e".into(), "\u{4f60}\u{597d} \u{43c}\u{438}\u{440}".into()),
        ];
    }
    if n.is_multiple_of(5) {
        object.metadata.insert("comment".into(), "plain, with: punctuation; and \"quotes\" = 100%".into());
        object.headers.cache_control = Some("max-age=3600, public".into());
        object.headers.content_disposition = Some("attachment; filename=\"report 1.txt\"".into());
        object.headers.content_language = Some("de-DE, en".into());
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_are_distinct_and_fit() {
        let objects = objects();
        let keys: BTreeSet<&str> = objects.iter().map(|o| o.key.as_str()).collect();
        assert_eq!(keys.len(), objects.len());
        assert!(keys.iter().all(|k| k.len() <= 1_024));
        assert_eq!(keys.iter().filter(|k| k.len() == 1_024).count(), 2);
    }
}
