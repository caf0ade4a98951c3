//! Objects of the cases.

use crate::seeded;
use crate::tree::Object;

/// Size of an object that is sent in parts, in bytes.
const IN_PARTS: usize = 40 << 20;

/// Returns objects that every service takes: small ones, one in parts, and one with metadata and tags.
pub fn plain() -> Vec<Object> {
    let mut objects: Vec<Object> =
        (0..20).map(|number| Object::of_bytes(format!("plain/{number}"), format!("object {number}"))).collect();
    objects.push(in_parts());
    let mut tagged = Object::of_bytes("plain/with tags+a plus", "tagged");
    tagged.tags = plain_tags();
    tagged.metadata.insert("comment".into(), "plain, with: punctuation; and \"quotes\" = 100%".into());
    tagged.headers.content_disposition = Some("attachment; filename=\"report 1.txt\"".into());
    objects.push(tagged);
    objects
}

/// Returns an object that is sent in parts.
pub fn in_parts() -> Object {
    Object::of_bytes("large/in parts", seeded::bytes(14, IN_PARTS))
}

/// Returns the object with tags that every service takes, if it has any.
pub fn with_plain_tags(object: Object) -> Object {
    if object.tags.is_empty() { object } else { Object { tags: plain_tags(), ..object } }
}

fn plain_tags() -> Vec<(String, String)> {
    vec![("team".into(), "data and storage".into()), ("path".into(), "a/b=c+d@e:f_g-h".into())]
}
