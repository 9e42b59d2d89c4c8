//! `dragon config show`: what is in force, with every secret left out.

use toml::{Table, Value};

use super::Config;
use super::secret::{REDACTED, Reference};
use super::setting::SECRET_KEYS;

impl Config {
    /// What is in force, as TOML: the file's values and those that flags put in their place. References are shown as they are
    /// written, literal secrets and passwords in URLs are not.
    pub fn show(&self) -> String {
        let mut table: Table = self.text.expose().parse().unwrap_or_default();
        for setting in &self.settings {
            if let Some(stores) = entry(&mut table, "stores")
                && let Some(store) = entry(stores, &setting.store)
            {
                store.insert(setting.key.clone(), Value::String(setting.value.clone()));
            }
        }
        for value in table.iter_mut().map(|(_, value)| value) {
            redact(value);
        }
        toml::to_string(&table).unwrap_or_default()
    }

    /// Who sets a key of a store: the flag, or the file. `None` where nobody does.
    pub fn origin(&self, store: &str, key: &str) -> Option<String> {
        if let Some(setting) = self.settings.iter().rfind(|s| s.store == store && s.key == key) {
            return Some(setting.flag.clone());
        }
        let table: Table = self.text.expose().parse().unwrap_or_default();
        table.get("stores")?.get(store)?.get(key)?;
        Some(self.file.as_ref().map_or_else(|| "dragon.toml".to_owned(), |file| file.display().to_string()))
    }
}

fn entry<'a>(table: &'a mut Table, key: &str) -> Option<&'a mut Table> {
    table.entry(key).or_insert_with(|| Value::Table(Table::new())).as_table_mut()
}

fn redact(value: &mut Value) {
    match value {
        Value::Table(table) => {
            for (key, value) in table.iter_mut() {
                match value {
                    Value::String(text) if hides(key, text) => REDACTED.clone_into(text),
                    other => redact(other),
                }
            }
        }
        Value::Array(array) => array.iter_mut().for_each(redact),
        Value::String(text) if has_password(text) => REDACTED.clone_into(text),
        _ => {}
    }
}

/// Whether a value must not be shown. The options of other crates' stores have names that are not known here.
fn hides(key: &str, text: &str) -> bool {
    let key = key.to_lowercase();
    let named = SECRET_KEYS.contains(&key.as_str())
        || ["secret", "token", "password", "account_key", "access_key", "service_account_key", "sas"].iter().any(|w| key.contains(w));
    let refers = Reference::parse(text).is_some() || key.ends_with("_file") || key == "access_key_id";
    (named && !refers) || has_password(text)
}

/// Whether a URL carries `USER:PASSWORD@`.
fn has_password(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().is_some_and(|authority| authority.contains('@')))
}
