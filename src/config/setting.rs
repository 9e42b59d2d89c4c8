//! `--set stores.NAME.KEY=VALUE`, and the flags that are short for it.

use super::secret::Reference;
use super::units::Parsed;

/// A value that a flag puts in place of the file's.
#[derive(Clone, PartialEq, Eq)]
pub struct Setting {
    /// The flag, for errors. Never holds a secret.
    pub flag: String,
    /// The store.
    pub store: String,
    /// Its key.
    pub key: String,
    /// The value as text.
    pub value: String,
}

/// The keys that hold secrets.
pub const SECRET_KEYS: [&str; 5] = ["access_key_secret", "secret_access_key", "session_token", "token", "webhook"];

impl Setting {
    /// Reads `stores.NAME.KEY=VALUE`. A secret is refused: every process on the machine can read a command line.
    pub fn parse(text: &str) -> Parsed<Self> {
        let form = "write stores.NAME.KEY=VALUE";
        let (path, value) = text.split_once('=').ok_or_else(|| form.to_owned())?;
        let parts: Vec<&str> = path.trim().split('.').collect();
        let ["stores", store, key] = parts[..] else { return Err(format!("'{path}' cannot be set: {form}")) };
        if SECRET_KEYS.contains(&key) && Reference::parse(value).is_none() {
            return Err(format!("{key} is a secret, and every process can read a command line: write {path}=env:NAME or {path}=file:PATH"));
        }
        Ok(Self { flag: format!("--set {path}"), store: store.into(), key: key.into(), value: value.into() })
    }

    /// A setting that another flag is short for.
    pub fn of_flag(flag: &str, store: &str, key: &str, value: &str) -> Self {
        Self { flag: flag.into(), store: store.into(), key: key.into(), value: value.into() }
    }
}

/// A proxy's URL may hold a password: no value shows.
impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}.{})", self.flag, self.store, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_secrets_refused() {
        let setting = Setting::parse("stores.minio.endpoint=http://127.0.0.1:9000/?a=b").expect("a setting");
        assert_eq!((setting.store.as_str(), setting.key.as_str(), setting.value.as_str()), ("minio", "endpoint", "http://127.0.0.1:9000/?a=b"));
        let refused = Setting::parse("stores.minio.secret_access_key=hunter2").expect_err("a secret");
        assert!(refused.contains("env:NAME") && !refused.contains("hunter2"));
        assert!(Setting::parse("stores.minio.secret_access_key=env:KEY").is_ok());
        assert!(Setting::parse("engine.memory=1GiB").is_err() && Setting::parse("x").is_err());
    }
}
