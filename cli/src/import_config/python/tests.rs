use super::*;

#[allow(clippy::unnecessary_wraps, reason = "the type of what is compared")]
fn text(text: &str) -> Option<Literal> {
    Some(Literal::Text(text.to_owned()))
}

fn value(literal: &str) -> Option<Literal> {
    let [only] = <[Assignment; 1]>::try_from(assignments(&format!("x = {literal}\n"))).unwrap();
    only.value
}

#[test]
fn literals_are_read_as_python_reads_them() {
    let word = |word: &str| Some(Literal::Word(word.to_owned()));
    for (literal, expected) in [
        ("'a'", text("a")),
        ("\"it's\"  # note", text("it's")),
        ("''", text("")),
        ("r'a\\n'", text("a\\n")),
        ("u'a'", text("a")),
        ("'a' \"b\"", text("ab")),
        ("'''a\n'b''c\n'''", text("a\n'b''c\n")),
        ("\"\"\"\"quoted\" \"\"\"", text("\"quoted\" ")),
        (r"'\x41\u00e9\n\q\\'", text("Aé\n\\q\\")),
        ("('a'\n  'b')", text("ab")),
        ("20", word("20")),
        ("-1.5e3", word("-1.5e3")),
        ("True", word("True")),
        ("None;", word("None")),
        ("b'a'", None),
        ("f'{a}'", None),
        ("core.App()", None),
        ("'a'.upper()", None),
        ("'a' + b", None),
        ("3 * 4", None),
        ("'open", None),
    ] {
        assert_eq!(value(literal), expected, "{literal}");
    }
}

#[test]
fn lists_and_dictionaries_may_span_lines() {
    let program = "bucket_para = [{  # first\n  'a': \"b\", \"c\": 'd',\n}, {\n    'e' : 'f'}\n  , ]\n";
    let entry = |key: &str, value: &str| (Literal::Text(key.into()), Literal::Text(value.into()));
    let expected = Literal::List(vec![
        Literal::Dict(vec![entry("a", "b"), entry("c", "d")]),
        Literal::Dict(vec![entry("e", "f")]),
    ]);
    assert_eq!(assignments(program), [Assignment { name: "bucket_para".into(), value: Some(expected) }]);
    assert_eq!(value("()"), Some(Literal::List(vec![])));
    assert_eq!(value("('a', )"), Some(Literal::List(vec![Literal::Text("a".into())])));
}

#[test]
fn only_the_top_level_is_read() {
    let program = "#!/usr/bin/env python3\n'''\nx = 'in a docstring'\n'''\nif True:\n    y = 'indented'\n\
                   def f(a,\nz = 'in brackets'):\n    return \"a\\\"\nw = 'in a string'\"\n\
                   n == 'compared'\na.b = 'attribute'\n\
                   one, two = 'a', 'b'\nlast = 'kept'";
    let names: Vec<_> = assignments(program).into_iter().map(|found| (found.name, found.value)).collect();
    assert_eq!(names, [("last".to_owned(), text("kept"))]);
}

#[test]
fn hostile_programs_end() {
    for program in
        ["x = [".repeat(10_000), format!("x = {}", "[".repeat(10_000)), "x = \"\"\"".into(), "\\".into(), "=".into()]
    {
        assert!(assignments(&program).iter().all(|found| found.value.is_none()), "{}", &program[..4]);
    }
}
