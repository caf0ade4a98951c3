//! Reading of files: documents, lists, and their mistakes.

use s3migrate::manifest::{ManifestError, load, validate};

use crate::support::{Files, documents, job, load_text};

const KEYS: &str = "apiVersion: v1
kind: Secret
metadata: {name: keys}
data: {AWS_ACCESS_KEY_ID: QUtJQQ==}
stringData: {AWS_SECRET_ACCESS_KEY: hidden-value}
";

fn error(text: &str) -> String {
    load_text(text).unwrap_err().to_string()
}

#[test]
fn objects_come_from_many_documents_lists_and_files() {
    let files = Files::new();
    let first = files.write("a.yaml", &format!("---\n# only a comment\n---\n{}---\n{KEYS}", job("")));
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {}\n- {}",
        indented(&job("").replace("{name: photos}", "{name: films}")),
        indented("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: lists}\ndata: {a: b}\n")
    );
    let second = files.write("b.yaml", &list);
    let third = r#"{"apiVersion": "v1", "kind": "SecretList", "items": [{"metadata": {"name": "other"}, "data": {}}]}"#;
    let standard_input = "-".into();
    let documents = load(&[first, second, standard_input], &mut third.as_bytes()).unwrap();
    let names: Vec<_> = validate(&documents, &[]).unwrap().into_iter().map(|job| job.metadata.name.unwrap()).collect();
    assert_eq!(names, ["photos", "films"]);
    let shown = format!("{documents:?}");
    for name in ["\"keys\"", "\"lists\"", "\"other\""] {
        assert!(shown.contains(name), "{name}: {shown}");
    }
}

fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n  ")
}

#[test]
fn other_kinds_are_skipped_and_named() {
    let documents = documents(
        "{apiVersion: v1, kind: Namespace, metadata: {name: demo}}\n---\n\
         {apiVersion: example.com/v1, kind: AccessList}\n",
    );
    let notes: Vec<_> = documents.skipped().iter().map(ToString::to_string).collect();
    assert!(notes[0].starts_with("Namespace demo (") && notes[0].contains("job.yaml, document 1) has no meaning"));
    assert!(notes[1].starts_with("AccessList ("), "{notes:?}");
    let error = validate(&documents, &[]).unwrap_err();
    assert!(matches!(error, ManifestError::NoJob), "{error}");
}

#[test]
fn paths_that_hold_no_documents_are_refused() {
    let files = Files::new();
    let load = |paths: &[std::path::PathBuf]| load(paths, &mut std::io::empty()).unwrap_err().to_string();
    let directory = load(&[files.directory().to_owned()]);
    assert!(directory.contains("it is a directory") && directory.contains("/*.yaml"), "{directory}");
    let absent = load(&[files.directory().join("absent.yaml")]);
    assert!(absent.starts_with("failed to read manifest ") && absent.contains("absent.yaml: No such file"), "{absent}");
    assert!(load(&["-".into(), "-".into()]).contains("only once"));
}

#[test]
fn mistakes_are_named_by_file_and_document() {
    for (text, expected) in [
        ("a: b\n---\nc: [\n", "job.yaml, document 1: it has no kind"),
        ("{kind: Namespace}\n---\nc: [\n", "job.yaml, document 2: "),
        ("- a\n", "it is no object of Kubernetes"),
        ("{kind: List, items: [{kind: Secret, apiVersion: v1}]}", "document 1, item 1: metadata.name: Required value"),
        ("{kind: Secret, apiVersion: v2, metadata: {name: n}}", "no matches for kind Secret in version \"v2\""),
        (
            "{kind: MigrationJob, apiVersion: s3migration.dev/v1, metadata: {name: n}}",
            "write apiVersion: s3migration.dev",
        ),
        ("{kind: MigrationJob, apiVersion: s3migration.dev/v1alpha1, metadata: {name: 1}}", "metadata.name is no text"),
        ("{kind: Namespace, kind: Namespace}", "duplicate"),
    ] {
        let found = error(text);
        assert!(found.contains(expected), "{expected:?} is not in {found}");
    }
}

#[test]
fn two_objects_of_one_name_are_refused() {
    for (text, expected) in [
        (format!("{KEYS}---\n{KEYS}"), "document 2: Secret default/keys is already in "),
        (format!("{}---\n{}", job(""), job("")), "document 2: MigrationJob default/photos is already in "),
    ] {
        let found = error(&text);
        assert!(found.contains(expected) && found.contains("document 1"), "{found}");
    }
    let elsewhere = KEYS.replace("{name: keys}", "{name: keys, namespace: media}");
    assert!(load_text(&format!("{KEYS}---\n{elsewhere}")).is_ok());
}

#[test]
fn secrets_and_config_maps_are_read_as_strictly_as_by_kubectl() {
    let object =
        |kind: &str, fields: &str| format!("{{apiVersion: v1, kind: {kind}, metadata: {{name: n}}, {fields}}}");
    for (kind, fields, expected) in [
        ("Secret", "stringdata: {a: s3cr3t}", "unknown field \"stringdata\" of a Secret"),
        ("Secret", "data: {key: 's3cr3t!'}", "data.key is not Base64; encode the value, or put the plain text into"),
        ("Secret", "data: {key: 12345}", "data.key is no text"),
        ("Secret", "stringData: {key: [s3cr3t]}", "stringData.key is no text"),
        ("Secret", "data: s3cr3t", "data must have keys"),
        ("ConfigMap", "stringData: {a: b}", "unknown field \"stringData\" of a ConfigMap"),
        ("ConfigMap", "data: {a: b}, binaryData: {a: Yg==}", "the key a is in data and in binaryData"),
        ("ConfigMap", "binaryData: {a: b}", "binaryData.a is not Base64; encode the value"),
    ] {
        let found = error(&object(kind, fields));
        assert!(found.contains(expected), "{expected:?} is not in {found}");
        assert!(!found.contains("s3cr3t") && !found.contains("12345"), "{found}");
    }
    let fine = object("Secret", "type: Opaque, immutable: true, data: {a: \"aGVs\\nbG8=\", b: null}, stringData: null");
    assert!(load_text(&fine).is_ok());
}

#[test]
fn mistakes_of_yaml_show_no_value_of_a_secret() {
    for value in [
        "!!int s3cr3t",
        "!!bool s3cr3t",
        "!!float s3cr3t",
        "!s3cr3t x",
        "\"s3cr3t\\q\"",
        "'s3cr3t",
        "*s3cr3t",
        "{s3cr3t: [}",
    ] {
        let found =
            error(&format!("{{apiVersion: v1, kind: Secret, metadata: {{name: n}}, stringData: {{key: {value}}}}}"));
        assert!(found.contains("job.yaml, document 1: ") && !found.contains("s3cr3t"), "{value}: {found}");
    }
}

#[test]
fn debug_shows_no_value_of_a_secret() {
    let shown = format!("{:?}", documents(KEYS));
    assert!(shown.contains("AWS_SECRET_ACCESS_KEY"), "{shown}");
    assert!(!shown.contains("hidden-value") && !shown.contains("AKIA") && !shown.contains("QUtJQQ"), "{shown}");
}
