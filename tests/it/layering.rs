//! The layers of `src/lib.rs`, enforced: imports go down only.
//!
//! Every `crate::` path in `src` is read, inline ones too. A path from a lower layer to a higher one, or between towers that
//! must not know each other, fails with its file and line.

use std::fs;
use std::path::{Path, PathBuf};

/// A module's layer: a path may lead to the same layer or to one with a smaller number.
const LAYERS: &[(&str, u32)] = &[
    ("error", 0),
    ("clock", 0),
    ("metrics", 0),
    ("storage", 1),
    ("journal", 2),
    ("transfer", 3),
    ("tier", 3),
    ("daemon", 4),
    ("devserver", 4),
    ("config", 5),
    ("cli", 6),
    ("fuzzing", 6),
];

/// The dev server is there to catch the clients' mistakes: it may share types of the contract, never wire, signing or checksum code.
const DEVSERVER_MUST_NOT_USE: &[&str] = &["storage", "journal", "transfer", "tier", "daemon"];

fn layer(module: &str) -> Option<u32> {
    LAYERS.iter().find(|(name, _)| *name == module).map(|(_, layer)| *layer)
}

/// The top-level module that a source file belongs to: `storage` for `src/storage/oss/sign.rs`.
fn module_of(file: &Path) -> String {
    let first = file.strip_prefix(source_root()).expect("below src").components().next().expect("a file");
    first.as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned()
}

fn source_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

/// Every module named right after `crate::` (or each of a `crate::{a, b::c}` list) with its line, comments left out.
fn crate_paths(text: &str) -> Vec<(usize, String)> {
    let code: String = text.lines().map(|l| l.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` and `dragon_crate::` are not ours.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let line = code[..at].matches('\n').count() + 1;
        let rest = &code[at + "crate::".len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut name = String::new();
            let mut at_start = true;
            for c in list.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => at_start = true,
                    c if depth == 0 && at_start && (c.is_alphanumeric() || c == '_') => name.push(c),
                    c if !c.is_whitespace() => at_start = at_start && name.is_empty(),
                    _ => {}
                }
                if (!at_start || c == ',') && !name.is_empty() {
                    found.push((line, std::mem::take(&mut name)));
                }
            }
            if !name.is_empty() {
                found.push((line, name));
            }
        } else {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.push((line, name));
        }
    }
    found
}

#[test]
fn imports_go_down_only() {
    let mut files = Vec::new();
    sources(&source_root(), &mut files);
    assert!(files.len() > 20, "the sources were found");
    let mut wrong = Vec::new();
    for file in files {
        let from = module_of(&file);
        if matches!(from.as_str(), "lib" | "main") {
            continue;
        }
        let own = layer(&from).unwrap_or_else(|| panic!("{} belongs to no layer: add it to LAYERS and to src/lib.rs's docs", file.display()));
        for (line, to) in crate_paths(&fs::read_to_string(&file).expect("readable")) {
            let upward = layer(&to).is_some_and(|l| l > own);
            let tower = from == "devserver" && DEVSERVER_MUST_NOT_USE.contains(&to.as_str());
            if upward || tower {
                wrong.push(format!("{}:{line}: {from} must not use {to}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_scanner_sees_inline_and_grouped_paths() {
    let names = |text| crate_paths(text).into_iter().map(|(_, n)| n).collect::<Vec<_>>();
    assert_eq!(names("use crate::storage::Key;\nlet x = crate::cli::run();"), ["storage", "cli"]);
    assert_eq!(names("use crate::{error::{Error, Result}, transfer, storage::Key};"), ["error", "transfer", "storage"]);
    assert_eq!(names("// crate::cli is above us\n$crate::x"), ["x"]);
}
