//! The files of the page.

/// A file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asset {
    /// Media type.
    pub media_type: &'static str,
    /// Content.
    pub content: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Returns the file at a path. `/` is the page; the licence of the library is beside it.
pub fn asset(path: &str) -> Option<Asset> {
    let (media_type, content): (_, &[u8]) = match path {
        "/" => (HTML, include_bytes!("../assets/index.html")),
        "/app.css" => (CSS, include_bytes!("../assets/app.css")),
        "/main.js" => (SCRIPT, include_bytes!("../assets/main.js")),
        "/api.js" => (SCRIPT, include_bytes!("../assets/api.js")),
        "/dom.js" => (SCRIPT, include_bytes!("../assets/dom.js")),
        "/list.js" => (SCRIPT, include_bytes!("../assets/list.js")),
        "/job.js" => (SCRIPT, include_bytes!("../assets/job.js")),
        "/counting.js" => (SCRIPT, include_bytes!("../assets/counting.js")),
        "/plan.js" => (SCRIPT, include_bytes!("../assets/plan.js")),
        "/failures.js" => (SCRIPT, include_bytes!("../assets/failures.js")),
        "/charts.js" => (SCRIPT, include_bytes!("../assets/charts.js")),
        "/icon.svg" => ("image/svg+xml", include_bytes!("../assets/icon.svg")),
        "/vendor/uPlot.js" => (SCRIPT, include_bytes!("../assets/vendor/uPlot.iife.min.js")),
        "/vendor/uPlot.css" => (CSS, include_bytes!("../assets/vendor/uPlot.min.css")),
        "/vendor/uPlot.LICENSE" => ("text/plain; charset=utf-8", include_bytes!("../assets/vendor/uPlot.LICENSE")),
        _ => return None,
    };
    Some(Asset { media_type, content })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::{Digest, Sha256};
    use std::fmt::Write as _;

    /// The files of uPlot 1.6.32 as its package in the npm registry has them.
    const VENDORED: [(&str, &str); 2] = [
        ("/vendor/uPlot.js", "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
        ("/vendor/uPlot.css", "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
    ];

    fn text(path: &str) -> &'static str {
        std::str::from_utf8(asset(path).unwrap().content).unwrap()
    }

    #[test]
    fn the_library_is_as_it_was_published() {
        for (path, expected) in VENDORED {
            let digest = Sha256::digest(asset(path).unwrap().content);
            let hex = digest.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x}");
                hex
            });
            assert_eq!(hex, expected, "{path}");
        }
        assert!(text("/vendor/uPlot.LICENSE").contains("MIT License"));
    }

    /// The files that are ours.
    const OURS: [&str; 11] = [
        "/",
        "/app.css",
        "/main.js",
        "/api.js",
        "/dom.js",
        "/list.js",
        "/job.js",
        "/failures.js",
        "/counting.js",
        "/plan.js",
        "/charts.js",
    ];

    #[test]
    fn the_page_needs_nothing_from_outside_and_puts_no_text_into_markup() {
        let page = text("/");
        let named = |attribute: &'static str| page.split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
        let files: Vec<_> = named(" href=\"").chain(named(" src=\"")).filter(|file| !file.starts_with('#')).collect();
        assert!(files.len() >= 5, "{files:?}");
        for file in files {
            assert!(asset(&format!("/{file}")).is_some(), "{file} is missing");
        }
        assert!(!page.contains("<script>") && !page.contains("style="), "the policy forbids both");
        for path in OURS {
            for forbidden in ["//cdn", "http:", "https:", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("] {
                assert!(!text(path).contains(forbidden), "{path} has {forbidden}");
            }
        }
    }

    #[test]
    fn modules_import_files_that_exist() {
        for path in OURS {
            for rest in text(path).split(" from \"./").skip(1) {
                let file = rest.split('"').next().unwrap();
                assert!(asset(&format!("/{file}")).is_some(), "{path} imports {file}");
            }
        }
    }
}
