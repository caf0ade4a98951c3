use super::*;

fn value(found: &Found, name: &str) -> Option<String> {
    found.setting(name).map(|given| given.value.clone())
}

#[test]
fn configuration_is_read_as_pythons_parser_does() {
    let mut found = Found::default();
    let text =
        "\u{feff}; first\n[Basic]\nA = 1\n# B = 2\n  # C = 3\nD: four # five\nE =\nF = one\n  two\n[Other]\nG=x=y\n";
    cluster_config(text, &mut found).unwrap();
    for (name, expected) in [
        ("a", Some("1")),
        ("B", None),
        ("C", None),
        ("D", Some("four # five")),
        ("E", Some("")),
        ("F", Some("one\ntwo")),
        ("G", Some("x=y")),
    ] {
        assert_eq!(value(&found, name).map(|value| value.replace("\r\n", "\n")).as_deref(), expected, "{name}");
    }
    assert!(!found.is_serverless);
}

#[test]
fn environments_are_read_in_each_form() {
    for text in [
        "# of the worker\nexport JobType='GET'\nMaxRetry = 20\n\nnote=a=b",
        r#"{"JobType": "GET", "MaxRetry": 20, "note": "a=b"}"#,
        r#"{"Variables": {"JobType": "GET", "MaxRetry": "20", "note": "a=b"}}"#,
        r#"[{"Environment": {"Variables": {"JobType": "GET", "MaxRetry": "20", "note": "a=b"}}, "Handler": "h"}]"#,
        r#"{"app": "python3 app.py", "context": {"JobType": "GET", "MaxRetry": "20", "note": "a=b"}}"#,
    ] {
        let mut found = Found::default();
        serverless_env(text, &mut found).unwrap();
        let values = ["JobType", "MaxRetry", "note"].map(|name| value(&found, name).unwrap());
        assert_eq!(values, ["GET", "20", "a=b"], "{text}");
        assert!(found.is_serverless, "{text}");
        assert_eq!(found.left.len(), usize::from(text.contains("Handler")), "{text}");
    }
}

#[test]
fn the_functions_own_keys_are_not_the_other_sides() {
    let mut found = Found::default();
    let text =
        "AWS_SECRET_ACCESS_KEY=hunter22\naws_access_key_id=id\naws_secret_access_key=secret\naws_access_key_region=r";
    serverless_env(text, &mut found).unwrap();
    assert_eq!((found.keys.id.as_deref(), found.keys.secret.as_deref()), (Some("id"), Some("secret")));
    assert_eq!((found.keys.region.as_deref(), found.left.len()), (Some("r"), 1));
    assert!(found.settings.is_empty() && !found.left[0].what.contains("hunter22"));
    // The credentials that were given before count.
    serverless_env("aws_secret_access_key=other", &mut found).unwrap();
    assert_eq!((found.keys.secret.as_deref(), found.left.len()), (Some("secret"), 2));
}

#[test]
fn lines_of_the_ignore_list_end_where_python_ends_them() {
    for (text, expected) in [
        ("", &[][..]),
        ("a", &["a"]),
        ("a\n", &["a"]),
        ("a\r\nb\rc\n", &["a", "b", "c"]),
        (" a \n\n#b", &[" a ", "", "#b"]),
        ("a\u{2028}b\u{b}c", &["a", "b", "c"]),
    ] {
        let mut found = Found::default();
        ignore_list(text, &mut found);
        assert_eq!(found.patterns.as_deref().unwrap(), expected, "{text:?}");
    }
}

#[test]
fn a_list_of_the_program_counts_if_no_other_is_given() {
    let program = "bucket_para = [{'src_bucket': 'aaa', 'src_prefix': '', 'des_bucket': 'bbb', 'des_prefix': ''}]";
    let mut found = Found::default();
    app_py(program, &mut found).unwrap();
    assert_eq!(found.rules.len(), 1);
    app_py(program, &mut found).unwrap();
    assert_eq!((found.rules.len(), found.left.len()), (1, 0), "equal entries are one");
    let wrong = "bucket_para = ['aaa']";
    assert!(matches!(app_py(wrong, &mut Found::default()), Err(ImportError::Malformed { .. })));
}

#[test]
fn members_of_another_form_are_named_or_refused() {
    let mut found = Found::default();
    let text = r#"{"Functions": 1, "Environment": "none", "context": ["a"], "Variables": null, "NextMarker": "m"}"#;
    serverless_env(text, &mut found).unwrap();
    for name in ["Functions", "Environment", "context", "Variables", "NextMarker"] {
        assert!(found.setting(name).is_some(), "{name}");
    }

    let mut found = Found::default();
    serverless_env(r#"{"Environment": {"Variables": {"a": "1"}, "Error": "denied"}}"#, &mut found).unwrap();
    assert_eq!((value(&found, "a").as_deref(), value(&found, "Error").as_deref()), (Some("1"), Some("denied")));

    for program in ["bucket_para = [{('a', 'b'): 'c'}]", "bucket_para = [{'src_bucket': 1}]"] {
        assert!(matches!(app_py(program, &mut Found::default()), Err(ImportError::Malformed { .. })), "{program}");
    }
}
