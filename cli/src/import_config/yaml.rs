//! Writes YAML documents whose fields carry comments, which serializers can't write.

use std::fmt::Write as _;

/// Longest line of a comment, indentation included, in characters.
const WIDTH: usize = 120;

/// A value of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A text, quoted where YAML would read it as something else.
    Text(String),
    /// A whole number.
    Number(u64),
    /// True or false.
    Bool(bool),
    /// A text of lines, each of which ends with a line feed.
    Lines(String),
    /// Fields in order.
    Map(Vec<Field>),
    /// Items in order.
    List(Vec<Item>),
}

/// A field of a map, with the comments above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    name: &'static str,
    node: Node,
    comments: Vec<String>,
}

/// An item of a list, with the comments above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    node: Node,
    comments: Vec<String>,
}

impl Field {
    /// Creates a field without comments.
    pub fn new(name: &'static str, node: Node) -> Self {
        Self { name, node, comments: Vec::new() }
    }

    /// Creates a field with a text.
    pub fn text(name: &'static str, text: impl Into<String>) -> Self {
        Self::new(name, Node::Text(text.into()))
    }

    /// Creates a field with fields of its own.
    pub fn map(name: &'static str, fields: Vec<Self>) -> Self {
        Self::new(name, Node::Map(fields))
    }

    /// Adds a comment above the field.
    #[must_use]
    pub fn saying(mut self, comment: impl Into<String>) -> Self {
        self.comments.push(comment.into());
        self
    }
}

impl Item {
    /// Creates an item.
    pub fn new(node: Node, comments: Vec<String>) -> Self {
        Self { node, comments }
    }
}

/// Returns a document with comments at its head.
pub fn document(head: &[String], fields: &[Field]) -> String {
    let mut out = String::new();
    write_comments(&mut out, head, 0);
    write_fields(&mut out, fields, 0);
    out
}

fn write_fields(out: &mut String, fields: &[Field], indent: usize) {
    for field in fields {
        write_comments(out, &field.comments, indent);
        let _ = write!(out, "{:indent$}{}:", "", field.name);
        write_node(out, &field.node, indent);
    }
}

/// Writes what follows the colon of a field.
fn write_node(out: &mut String, node: &Node, indent: usize) {
    match node {
        Node::Text(text) => {
            let _ = writeln!(out, " {}", scalar(text));
        }
        Node::Number(number) => {
            let _ = writeln!(out, " {number}");
        }
        Node::Bool(value) => {
            let _ = writeln!(out, " {value}");
        }
        Node::Lines(text) if is_block(text) => {
            out.push_str(" |\n");
            for line in text.lines() {
                let _ = writeln!(out, "{}", format!("{:1$}{line}", "", indent + 2).trim_end_matches(' '));
            }
        }
        Node::Lines(text) => {
            let _ = writeln!(out, " {}", quoted(text));
        }
        Node::Map(fields) if fields.is_empty() => out.push_str(" {}\n"),
        Node::Map(fields) => {
            out.push('\n');
            write_fields(out, fields, indent + 2);
        }
        Node::List(items) => {
            out.push('\n');
            for item in items {
                write_item(out, item, indent + 2);
            }
        }
    }
}

fn write_item(out: &mut String, item: &Item, indent: usize) {
    write_comments(out, &item.comments, indent);
    let Node::Map(fields) = &item.node else {
        let _ = write!(out, "{:indent$}-", "");
        return write_node(out, &item.node, indent);
    };
    let mut inner = String::new();
    write_fields(&mut inner, fields, indent + 2);
    let _ = write!(out, "{:indent$}- {}", "", inner.trim_start_matches(' '));
}

/// Writes comments, each broken at spaces into lines of at most [`WIDTH`] characters.
fn write_comments(out: &mut String, comments: &[String], indent: usize) {
    for comment in comments {
        let mut line = String::new();
        for word in comment.split(' ') {
            let len = indent + 2 + line.chars().count() + 1 + word.chars().count();
            if !line.is_empty() && len > WIDTH {
                let _ = writeln!(out, "{:indent$}# {line}", "");
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        let _ = writeln!(out, "{:indent$}# {line}", "");
    }
}

/// Returns a text as it may stand in a comment: line breaks and other control characters are escaped, so that no text
/// can end the comment.
pub fn shown(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if is_odd(c) {
            shown.extend(c.escape_unicode());
        } else {
            shown.push(c);
        }
        shown
    })
}

/// Characters that end lines in YAML or are not printable.
fn is_odd(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Returns true if lines can be written as a literal block.
fn is_block(text: &str) -> bool {
    let odd = |c: char| is_odd(c) && c != '\n' && c != '\t';
    let first = text.lines().find(|line| !line.is_empty());
    let spaced = text.lines().any(|line| line.ends_with(' '));
    !text.contains(odd) && !spaced && text.ends_with('\n') && first.is_some_and(|line| !line.starts_with([' ', '\t']))
}

fn scalar(text: &str) -> String {
    if is_plain(text) { text.to_owned() } else { quoted(text) }
}

/// Returns true for a text that YAML 1.1 and 1.2 read as this text without quotes: a name, or a size such as `5Mi`.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let is_name = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-/".contains(c));
    let is_size = text.strip_suffix('i').and_then(|text| text.strip_suffix(['K', 'M', 'G', 'T']));
    let is_size = is_size.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()));
    is_size || (is_name && !WORDS.contains(&text.to_ascii_lowercase().as_str()))
}

/// Returns a text in double quotes, whose escapes are those of JSON.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if is_odd(c) => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_yaml::Value;

    fn read(text: &str) -> Value {
        serde_yaml::from_str(text).unwrap()
    }

    #[test]
    fn texts_are_read_back_as_they_were() {
        for text in [
            "photos",
            "",
            " a ",
            "yes",
            "No",
            "null",
            "~",
            "1",
            "1e3",
            "0x1f",
            "5Mi",
            "16",
            "a: b",
            "a #b",
            "- a",
            "'",
            "\"",
            "\\",
            "{x}",
            "*",
            "&a",
            "a\nb",
            "a\r\nb\n",
            "é/ü",
            "\u{85}",
            "\u{2028}",
            "\u{feff}a",
            "\t",
            "a/b_c.d",
            "true",
            "2026-01-01",
            "%",
            "@x",
            "`",
        ] {
            let yaml = document(&[], &[Field::text("a", text), Field::new("b", Node::Lines(format!("{text}\n")))]);
            let value = read(&yaml);
            assert_eq!(value["a"].as_str(), Some(text), "{yaml}");
            assert_eq!(value["b"].as_str(), Some(format!("{text}\n").as_str()), "{yaml}");
        }
    }

    #[test]
    fn nothing_in_a_comment_ends_it() {
        let comment = shown("a\nkind: Secret\r\u{2028}b: c\u{85}d");
        let yaml = document(&[comment], &[Field::text("a", "b").saying(shown("\n- x"))]);
        assert_eq!(read(&yaml), read("a: b"));
    }

    #[test]
    fn lists_of_maps_and_comments_are_indented() {
        let pair = |name: &str| Node::Map(vec![Field::text("name", name).saying("of it"), Field::map("none", vec![])]);
        let items = vec![Item::new(pair("a"), vec![]), Item::new(pair("b"), vec!["second".into()])];
        let yaml = document(
            &["head".into()],
            &[
                Field::map("spec", vec![Field::new("list", Node::List(items)), Field::new("n", Node::Number(3))]),
                Field::new("plain", Node::List(vec![Item::new(Node::Text("*.tmp".into()), vec![])])),
                Field::new("yes", Node::Bool(true)),
            ],
        );
        let expected =
            "{spec: {list: [{name: a, none: {}}, {name: b, none: {}}], n: 3}, plain: ['*.tmp'], 'yes': true}";
        assert_eq!(read(&yaml), read(expected), "{yaml}");
        assert!(yaml.contains("    # second\n    - # of it\n"), "{yaml}");
    }

    #[test]
    fn long_comments_are_broken() {
        let yaml = document(&[], &[Field::text("a", "b").saying("word ".repeat(100))]);
        assert!(yaml.lines().all(|line| line.len() <= WIDTH), "{yaml}");
    }
}
