//! Secrets, and values that stand elsewhere: `env:NAME` and `file:PATH`.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Text that never shows: neither `Debug` nor `Display` nor an error prints it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the signer only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// What stands in a secret's place.
pub const REDACTED: &str = "(secret)";

/// The process's environment as a value, so that tests have their own.
#[derive(Clone, Default)]
pub struct Environment {
    variables: HashMap<OsString, OsString>,
}

impl Environment {
    /// This process's environment.
    pub fn process() -> Self {
        Self { variables: std::env::vars_os().collect() }
    }

    /// An environment of these variables only.
    pub fn of<const N: usize>(variables: [(&str, &str); N]) -> Self {
        Self { variables: variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect() }
    }

    /// A variable, where it is set, not empty, and valid UTF-8.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(std::ffi::OsStr::new(name)).and_then(|value| value.to_str()).filter(|value| !value.is_empty())
    }

    /// A variable that holds a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.variables.get(std::ffi::OsStr::new(name)).filter(|value| !value.is_empty()).map(PathBuf::from)
    }
}

/// Values may be secrets: only the names show.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference<'a> {
    /// In an environment variable.
    Env(&'a str),
    /// In a file. `${CREDENTIALS_DIRECTORY}` is systemd's directory of credentials.
    File(&'a str),
}

impl<'a> Reference<'a> {
    /// Reads `env:NAME` or `file:PATH`; anything else is a literal. `file://` is an address, not a reference.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some(name) = text.strip_prefix("env:") {
            return Some(Self::Env(name));
        }
        text.strip_prefix("file:").filter(|path| !path.starts_with("//")).map(Self::File)
    }

    /// The value, or why it is missing. A file's relative path is taken from `base`, and its trailing line break dropped.
    pub fn resolve(&self, environment: &Environment, base: &Path) -> Result<String, String> {
        match self {
            Self::Env(name) => environment.get(name).map(str::to_owned).ok_or_else(|| format!("the environment variable {name} is not set")),
            Self::File(path) => {
                const DIRECTORY: &str = "${CREDENTIALS_DIRECTORY}";
                let path = match path.strip_prefix(DIRECTORY) {
                    Some(rest) => match environment.path("CREDENTIALS_DIRECTORY") {
                        Some(directory) => directory.join(rest.trim_start_matches('/')),
                        None => return Err("CREDENTIALS_DIRECTORY is not set: it is systemd that sets it, for a unit with LoadCredential=".into()),
                    },
                    None => base.join(path),
                };
                read_small(&path).map_err(|e| format!("{} cannot be read: {e}", path.display()))
            }
        }
    }
}

/// Secrets and tokens are short; a larger file is a mistake.
const VALUE_BYTES_MAX: u64 = 64 << 10;

fn read_small(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(VALUE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > VALUE_BYTES_MAX {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is larger than 64 KiB"));
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_shows() {
        let secret = Secret::new("hunter2");
        assert!(!format!("{secret} {secret:?}").contains("hunter2"));
        assert!(!format!("{:?}", Environment::of([("A", "hunter2")])).contains("hunter2"));
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn references_resolve_or_say_why_not() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("key"), "s3cr3t\n").expect("written");
        let at = dir.path().to_str().expect("utf-8");
        let environment = Environment::of([("A", "value"), ("EMPTY", ""), ("CREDENTIALS_DIRECTORY", at)]);
        let resolve = |text: &str| Reference::parse(text).expect("a reference").resolve(&environment, dir.path());
        assert_eq!(resolve("env:A"), Ok("value".into()));
        assert_eq!(resolve("file:key"), Ok("s3cr3t".into()));
        assert_eq!(resolve("file:${CREDENTIALS_DIRECTORY}/key"), Ok("s3cr3t".into()));
        assert!(resolve("env:EMPTY").expect_err("empty").contains("EMPTY is not set"));
        assert!(resolve("file:nothing").expect_err("absent").contains("nothing cannot be read"));
        assert_eq!(Reference::parse("file:///data"), None);
        assert_eq!(Reference::parse("literal"), None);
    }
}
