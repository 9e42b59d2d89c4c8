//! The environment variables and the home folder that credentials are looked for in.

use std::collections::HashMap;
use std::path::PathBuf;

/// A snapshot of what matters here of a process's environment. Tests make their own.
#[derive(Clone, Default)]
pub struct Environment {
    vars: HashMap<String, String>,
    home: Option<PathBuf>,
}

impl Environment {
    /// This process's environment: `OSS_*`, `ALIBABA_CLOUD_*` and the home folder.
    pub fn of_process() -> Self {
        let ours = |name: &str| name.starts_with("OSS_") || name.starts_with("ALIBABA_CLOUD_");
        let vars = std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))).filter(|(n, _)| ours(n)).collect();
        Self { vars, home: std::env::home_dir() }
    }

    /// These variables and no home folder.
    pub fn of(vars: &[(&str, &str)]) -> Self {
        Self { vars: vars.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(), home: None }
    }

    /// With this home folder.
    #[must_use]
    pub fn with_home(mut self, home: impl Into<PathBuf>) -> Self {
        self.home = Some(home.into());
        self
    }

    /// A variable that is set and not empty.
    pub fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).filter(|v| !v.is_empty()).cloned()
    }

    /// Whether a variable says `true` or `1`.
    pub(super) fn is_true(&self, name: &str) -> bool {
        self.var(name).is_some_and(|v| v.eq_ignore_ascii_case("true") || v == "1")
    }

    /// A file named by a variable, else one below the home folder.
    pub(super) fn file(&self, var: Option<&str>, below_home: &str) -> Option<PathBuf> {
        var.and_then(|v| self.var(v)).map(PathBuf::from).or_else(|| Some(self.home.as_ref()?.join(below_home)))
    }
}

/// Shows the names that are set, and no value.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut names: Vec<&String> = self.vars.keys().collect();
        names.sort_unstable();
        f.debug_struct("Environment").field("set", &names).field("home", &self.home).finish()
    }
}
