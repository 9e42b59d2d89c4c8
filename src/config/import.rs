//! `dragon config import`: stores made of what people have configured for another tool.
//!
//! Secrets are not printed unless that is asked for: the text names the environment variables that they are to stand in. What cannot be
//! carried over is told, never left out in silence.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use crate::error::{Error, Result};
use crate::storage::location::is_store_name;

/// Whose configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// rclone.conf.
    Rclone,
    /// MinIO's mc: config.json.
    Mc,
    /// Alibaba's ossutil: ~/.ossutilconfig.
    Ossutil,
    /// The AWS tools: ~/.aws/credentials or ~/.aws/config.
    Aws,
}

impl Tool {
    /// Where its configuration is, below the home directory.
    pub fn usual_file(self) -> &'static str {
        match self {
            Self::Rclone => ".config/rclone/rclone.conf",
            Self::Mc => ".mc/config.json",
            Self::Ossutil => ".ossutilconfig",
            Self::Aws => ".aws/credentials",
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Imported {
    /// `[stores.NAME]` tables, as TOML.
    pub text: String,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// One store on its way.
#[derive(Debug, Default)]
struct Store {
    name: String,
    is_oss: bool,
    keys: BTreeMap<&'static str, String>,
    secrets: BTreeMap<&'static str, String>,
}

/// Makes stores of another tool's configuration.
///
/// Fails with [`ErrorKind::Invalid`](crate::error::ErrorKind::Invalid) where the text is none of that tool's.
pub fn import(tool: Tool, text: &str, with_secrets: bool) -> Result<Imported> {
    let mut imported = Imported::default();
    let stores = match tool {
        Tool::Rclone => rclone(text, &mut imported.left_out)?,
        Tool::Mc => mc(text, &mut imported.left_out)?,
        Tool::Ossutil => ossutil(text, &mut imported.left_out),
        Tool::Aws => aws(text, &mut imported.left_out),
    };
    let mut names = BTreeSet::new();
    for store in stores {
        store.print(&mut imported.text, &mut names, with_secrets);
    }
    Ok(imported)
}

impl Store {
    fn new(name: &str, is_oss: bool) -> Self {
        Self { name: name.to_owned(), is_oss, ..Self::default() }
    }

    fn key(&mut self, key: &'static str, value: Option<&String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.keys.insert(key, value.clone());
        }
    }

    fn secret(&mut self, key: &'static str, value: Option<&String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.secrets.insert(key, value.clone());
        }
    }

    fn print(&self, text: &mut String, names: &mut BTreeSet<String>, with_secrets: bool) {
        let plain: String = self.name.to_ascii_lowercase().chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).collect();
        let plain = if is_store_name(plain.trim_matches('-')) { plain.trim_matches('-').to_owned() } else { "store".to_owned() };
        // file and mem are built in.
        let plain = if matches!(plain.as_str(), "file" | "mem") { format!("{plain}-store") } else { plain };
        let name = (1..).map(|n| if n == 1 { plain.clone() } else { format!("{plain}-{n}") }).find(|name| names.insert(name.clone())).unwrap_or(plain);
        let quoted = |value: &str| toml::Value::String(value.to_owned()).to_string();
        let _ = writeln!(text, "[stores.{name}]\ntype = \"{}\"", if self.is_oss { "oss" } else { "s3" });
        for (key, value) in &self.keys {
            let _ = match value.as_str() {
                "true" | "false" => writeln!(text, "{key} = {value}"),
                _ => writeln!(text, "{key} = {}", quoted(value)),
            };
        }
        for (key, value) in &self.secrets {
            if with_secrets {
                let _ = writeln!(text, "{key} = {}", quoted(value));
            } else {
                let variable = format!("{}_{}", name.replace('-', "_"), key).to_ascii_uppercase();
                let _ = writeln!(text, "{key} = \"env:{variable}\"");
            }
        }
        text.push('\n');
    }
}

/// Sections of an INI file, with their keys in lower case.
fn ini(text: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut sections: Vec<(String, BTreeMap<String, String>)> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push((name.trim().to_owned(), BTreeMap::new()));
        } else if let (Some((_, keys)), Some((key, value))) = (sections.last_mut(), line.split_once('=')) {
            keys.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    sections
}

fn rclone(text: &str, left_out: &mut Vec<String>) -> Result<Vec<Store>> {
    if text.contains("RCLONE_ENCRYPT_V0") {
        return Err(Error::invalid("this rclone.conf is encrypted").advise("pipe what `rclone config show` prints into this command"));
    }
    let mut stores = Vec::new();
    for (name, keys) in ini(text) {
        let kind = keys.get("type").map(String::as_str).unwrap_or_default();
        if kind != "s3" {
            left_out.push(format!("[{name}]: a remote of type '{kind}' is none that Dragon takes over; its object_store type may reach it"));
            continue;
        }
        let is_oss = keys.get("provider").is_some_and(|provider| provider.eq_ignore_ascii_case("alibaba"));
        let mut store = Store::new(&name, is_oss);
        store.key("region", keys.get("region"));
        store.key("endpoint", keys.get("endpoint"));
        store.key("access_key_id", keys.get("access_key_id"));
        store.secret(if is_oss { "access_key_secret" } else { "secret_access_key" }, keys.get("secret_access_key"));
        store.secret("session_token", keys.get("session_token"));
        store.key("profile", keys.get("profile"));
        if !is_oss {
            store.key("path_style", keys.get("force_path_style").filter(|value| matches!(value.as_str(), "true" | "false")));
        }
        let known =
            ["type", "provider", "region", "endpoint", "access_key_id", "secret_access_key", "session_token", "profile", "force_path_style", "env_auth"];
        let rest: Vec<&str> = keys.keys().map(String::as_str).filter(|key| !known.contains(key)).collect();
        if !rest.is_empty() {
            left_out.push(format!("[{name}]: {}: set what you need of it as flags or keys of Dragon's", rest.join(", ")));
        }
        stores.push(store);
    }
    Ok(stores)
}

fn mc(text: &str, left_out: &mut Vec<String>) -> Result<Vec<Store>> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| Error::invalid(format!("this is no config.json of mc: {e}")))?;
    let aliases = value["aliases"].as_object().or(value["hosts"].as_object()).ok_or_else(|| Error::invalid("this config.json of mc has no aliases"))?;
    let mut stores = Vec::new();
    for (name, alias) in aliases {
        let text = |key: &str| alias[key].as_str().map(str::to_owned);
        let Some(url) = text("url") else {
            left_out.push(format!("{name}: it has no url"));
            continue;
        };
        let is_oss = url.contains(".aliyuncs.com");
        let mut store = Store::new(name, is_oss);
        store.key("endpoint", Some(&url));
        store.key("access_key_id", text("accessKey").as_ref());
        store.secret(if is_oss { "access_key_secret" } else { "secret_access_key" }, text("secretKey").as_ref());
        store.secret("session_token", text("sessionToken").as_ref());
        match (is_oss, text("path").as_deref()) {
            (false, Some("on")) => _ = store.keys.insert("path_style", "true".into()),
            (false, Some("off" | "dns")) => _ = store.keys.insert("path_style", "false".into()),
            _ => {}
        }
        stores.push(store);
    }
    Ok(stores)
}

fn ossutil(text: &str, left_out: &mut Vec<String>) -> Vec<Store> {
    let mut stores = Vec::new();
    for (name, keys) in ini(text) {
        let get = |words: &[&str]| words.iter().find_map(|word| keys.get(*word));
        if get(&["accesskeyid", "access-key-id"]).is_none() && get(&["endpoint", "region"]).is_none() {
            left_out.push(format!("[{name}]: it has neither a key nor an endpoint nor a region"));
            continue;
        }
        // Version 1 has [Credentials], version 2 [profile NAME] and [default].
        let name = name.trim_start_matches("profile ").trim();
        let mut store = Store::new(if name.eq_ignore_ascii_case("credentials") || name == "default" { "aliyun" } else { name }, true);
        store.key("endpoint", get(&["endpoint"]));
        store.key("region", get(&["region"]));
        store.key("access_key_id", get(&["accesskeyid", "access-key-id"]));
        store.secret("access_key_secret", get(&["accesskeysecret", "access-key-secret"]));
        store.secret("session_token", get(&["ststoken", "sts-token"]));
        stores.push(store);
    }
    stores
}

fn aws(text: &str, left_out: &mut Vec<String>) -> Vec<Store> {
    let mut stores = Vec::new();
    for (name, _) in ini(text) {
        let profile = name.trim_start_matches("profile ").trim();
        if name.starts_with("sso-session") || name.starts_with("services ") {
            left_out.push(format!("[{name}]: the AWS chain reads it by itself, through the profiles that name it"));
            continue;
        }
        // The chain reads keys, roles and regions from there itself: nothing of it is copied.
        let mut store = Store::new(&format!("aws-{profile}"), false);
        store.keys.insert("profile", profile.to_owned());
        stores.push(store);
    }
    stores
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::secret::Environment;
    use super::*;

    fn parsed(text: &str) -> Config {
        Config::parse("imported", text, "/".into(), &[], &Environment::default()).unwrap_or_else(|e| panic!("{text}: {e:?}"))
    }

    #[test]
    fn rclone_remotes_become_stores() {
        let text = "[My S3]\ntype = s3\nprovider = AWS\naccess_key_id = AKIA1\nsecret_access_key = hunter2\nregion = eu-west-1\nacl = private\n\n\
                    [ali]\ntype = s3\nprovider = Alibaba\naccess_key_id = LTAI1\nsecret_access_key = hunter3\nendpoint = oss-cn-beijing.aliyuncs.com\n\n\
                    [secret]\ntype = crypt\nremote = ali:x\n";
        let imported = import(Tool::Rclone, text, false).expect("imported");
        assert!(!imported.text.contains("hunter"), "{}", imported.text);
        assert!(imported.text.contains("secret_access_key = \"env:MY_S3_SECRET_ACCESS_KEY\"") && imported.text.contains("[stores.my-s3]"), "{}", imported.text);
        assert!(imported.left_out.iter().any(|told| told.contains("crypt")) && imported.left_out.iter().any(|told| told.contains("acl")));
        assert_eq!(parsed(&imported.text).stores.len(), 4);
        assert!(import(Tool::Rclone, text, true).expect("imported").text.contains("hunter3"));
        assert!(import(Tool::Rclone, "# Encrypted rclone configuration File\nRCLONE_ENCRYPT_V0:\nxyz", false).is_err());
    }

    #[test]
    fn mc_aliases_become_stores() {
        let text = r#"{"version":"10","aliases":{"minio":{"url":"http://127.0.0.1:9000","accessKey":"a","secretKey":"hunter2","api":"S3v4","path":"on"},
                       "MINIO":{"url":"https://oss-cn-beijing.aliyuncs.com","accessKey":"b","secretKey":"c","path":"auto"},"broken":{}}}"#;
        let imported = import(Tool::Mc, text, false).expect("imported");
        assert!(imported.text.contains("[stores.minio-2]") && imported.text.contains("path_style = true"), "{}", imported.text);
        assert_eq!((parsed(&imported.text).stores.len(), imported.left_out.len()), (4, 1));
        assert!(import(Tool::Mc, "{}", false).is_err() && import(Tool::Mc, "x", false).is_err());
    }

    #[test]
    fn ossutil_and_aws_profiles_become_stores() {
        let one = import(
            Tool::Ossutil,
            "[Credentials]\nlanguage=CH\nendpoint=oss-cn-hangzhou.aliyuncs.com\naccessKeyID=LTAI\naccessKeySecret=hunter2\n[Bucket-Endpoint]\nb=c\n",
            false,
        )
        .expect("imported");
        assert!(one.text.contains("[stores.aliyun]") && one.text.contains("ALIYUN_ACCESS_KEY_SECRET") && one.left_out.len() == 1, "{one:?}");
        let two = import(Tool::Ossutil, "[profile dev]\naccess-key-id=LTAI\naccess-key-secret=x\nregion=cn-beijing\n", true).expect("imported");
        assert!(two.text.contains("[stores.dev]") && two.text.contains("region = \"cn-beijing\""), "{two:?}");
        let aws = import(
            Tool::Aws,
            "[default]\naws_access_key_id = AKIA\naws_secret_access_key = hunter2\n[profile prod]\nregion = us-east-1\n[sso-session x]\n",
            true,
        )
        .expect("imported");
        assert!(aws.text.contains("profile = \"prod\"") && !aws.text.contains("hunter2") && aws.left_out.len() == 1, "{aws:?}");
        for imported in [one, two, aws] {
            parsed(&imported.text);
        }
    }
}
