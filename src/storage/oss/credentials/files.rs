//! The files of Alibaba's own tools: `~/.aliyun/config.json`, `~/.alibabacloud/credentials.ini`, `~/.ossutilconfig`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Credentials, refuse};
use crate::error::Result;

/// What a profile says, whichever file it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Profile {
    Key(Credentials),
    /// A temporary key: whoever keeps the file puts a new one there in time.
    KeyInFile(Credentials),
    Role {
        base: Box<Profile>,
        arn: String,
        session_name: Option<String>,
        external_id: Option<String>,
    },
    Ecs {
        role: Option<String>,
    },
    Oidc {
        arn: String,
        session_name: Option<String>,
        provider_arn: String,
        token_file: PathBuf,
    },
    Process(String),
    Uri(String),
}

/// Reads a file that need not be there.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound || e.kind() == std::io::ErrorKind::NotADirectory => Ok(None),
        Err(e) => Err(refuse(format!("cannot read {}", path.display())).caused_by(e)),
    }
}

/// A profile of the `aliyun` command's configuration: the named one, else the current one.
/// `None` where it is not there or holds no key yet.
pub(super) fn cli_config(text: &str, path: &Path, name: Option<&str>) -> Result<Option<Profile>> {
    let json: Value = serde_json::from_str(text).map_err(|e| refuse(format!("{} is not JSON: line {}, column {}", path.display(), e.line(), e.column())))?;
    let name = name.or_else(|| json["current"].as_str()).unwrap_or("default");
    cli_profile(&json, path, name, 0)
}

fn cli_profile(json: &Value, path: &Path, name: &str, depth: u32) -> Result<Option<Profile>> {
    if depth > 4 {
        return Err(refuse(format!("the profiles of {} name each other as source", path.display())));
    }
    let Some(profile) = json["profiles"].as_array().into_iter().flatten().find(|p| p["name"] == name) else { return Ok(None) };
    let text = |key: &str| profile[key].as_str().filter(|t| !t.is_empty()).map(str::to_owned);
    let key = |token: Option<String>| Some(Profile::Key(Credentials::new(text("access_key_id")?, text("access_key_secret")?, token)));
    let role = |base: Option<Profile>| {
        let (base, arn) = (Box::new(base?), text("ram_role_arn")?);
        Some(Profile::Role { base, arn, session_name: text("ram_session_name"), external_id: text("external_id") })
    };
    Ok(match text("mode").as_deref().unwrap_or("AK") {
        "AK" => key(None),
        "StsToken" => key(text("sts_token")).map(in_file),
        // Their tokens come from a browser; the command keeps the current one here.
        "CloudSSO" | "OAuth" => text("sts_token").and_then(|token| key(Some(token))).map(in_file),
        "RamRoleArn" => role(key(text("sts_token"))),
        "ChainableRamRoleArn" => match text("source_profile") {
            Some(source) => role(cli_profile(json, path, &source, depth + 1)?),
            None => None,
        },
        "EcsRamRole" => Some(Profile::Ecs { role: text("ram_role_name") }),
        "OIDC" => match (text("ram_role_arn"), text("oidc_provider_arn"), text("oidc_token_file")) {
            (Some(arn), Some(provider_arn), Some(file)) => {
                Some(Profile::Oidc { arn, session_name: text("ram_session_name"), provider_arn, token_file: file.into() })
            }
            _ => None,
        },
        "External" => text("process_command").map(Profile::Process),
        "CredentialsURI" => text("credentials_uri").map(Profile::Uri),
        other => return Err(refuse(format!("profile '{name}' of {} has the mode '{}', which Dragon does not know", path.display(), other.escape_debug()))),
    })
}

/// A section of `credentials.ini`: the named one, else `default`. `None` where it is not there or not enabled.
pub(super) fn credentials_ini(text: &str, path: &Path, section: Option<&str>) -> Result<Option<Profile>> {
    let section = section.unwrap_or("default");
    let sections = ini(text);
    let Some(values) = sections.get(section) else { return Ok(None) };
    let text = |key: &str| values.get(key).filter(|v| !v.is_empty()).cloned();
    if text("enable").is_some_and(|v| v.eq_ignore_ascii_case("false")) {
        return Ok(None);
    }
    let key = |token: Option<String>| Some(Profile::Key(Credentials::new(text("access_key_id")?, text("access_key_secret")?, token)));
    Ok(match text("type").as_deref().unwrap_or("access_key") {
        "access_key" => key(None),
        "sts" => key(text("security_token")).map(in_file),
        "ecs_ram_role" => Some(Profile::Ecs { role: text("role_name") }),
        "ram_role_arn" => match (key(None), text("role_arn")) {
            (Some(base), Some(arn)) => {
                Some(Profile::Role { base: Box::new(base), arn, session_name: text("role_session_name"), external_id: text("external_id") })
            }
            _ => None,
        },
        "oidc_role_arn" => match (text("role_arn"), text("oidc_provider_arn"), text("oidc_token_file_path")) {
            (Some(arn), Some(provider_arn), Some(file)) => {
                Some(Profile::Oidc { arn, session_name: text("role_session_name"), provider_arn, token_file: file.into() })
            }
            _ => None,
        },
        other => return Err(refuse(format!("section '{section}' of {} has the type '{}', which Dragon does not know", path.display(), other.escape_debug()))),
    })
}

/// The key of `~/.ossutilconfig`: section `Credentials` (ossutil 1) or `default` (ossutil 2).
pub(super) fn ossutil(text: &str) -> Option<Profile> {
    let sections = ini(text);
    ["credentials", "default"].iter().find_map(|wanted| {
        let values = sections.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted))?.1;
        let value = |wanted: &str| values.iter().find(|(n, v)| n.eq_ignore_ascii_case(wanted) && !v.is_empty()).map(|(_, v)| v.clone());
        Some(in_file(Profile::Key(Credentials::new(value("accessKeyID")?, value("accessKeySecret")?, value("stsToken")))))
    })
}

fn in_file(profile: Profile) -> Profile {
    match profile {
        Profile::Key(credentials) if credentials.security_token().is_some() => Profile::KeyInFile(credentials),
        other => other,
    }
}

fn ini(text: &str) -> HashMap<String, HashMap<String, String>> {
    let mut sections: HashMap<String, HashMap<String, String>> = HashMap::new();
    let mut current = String::new();
    for line in text.lines().map(str::trim).filter(|l| !l.starts_with(['#', ';'])) {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            current = name.trim().to_owned();
        } else if let Some((name, value)) = line.split_once('=') {
            let value = value.split(" #").next().unwrap_or_default().trim().to_owned();
            sections.entry(current.clone()).or_default().insert(name.trim().to_owned(), value);
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, token: Option<&str>) -> Profile {
        Profile::Key(Credentials::new(id, "secret", token))
    }

    #[test]
    fn the_cli_configuration_has_its_modes() {
        let config = r#"{"current":"a","profiles":[
            {"name":"a","mode":"AK","access_key_id":"A","access_key_secret":"secret"},
            {"name":"sts","mode":"StsToken","access_key_id":"B","access_key_secret":"secret","sts_token":"t"},
            {"name":"role","mode":"RamRoleArn","access_key_id":"A","access_key_secret":"secret","ram_role_arn":"acs:ram::1:role/r","ram_session_name":"s"},
            {"name":"chained","mode":"ChainableRamRoleArn","source_profile":"a","ram_role_arn":"acs:ram::1:role/c"},
            {"name":"loop","mode":"ChainableRamRoleArn","source_profile":"loop","ram_role_arn":"x"},
            {"name":"ecs","mode":"EcsRamRole","ram_role_name":"r"},
            {"name":"ext","mode":"External","process_command":"p"},
            {"name":"new","mode":"AK","access_key_id":"","access_key_secret":""},
            {"name":"odd","mode":"Telepathy"}]}"#;
        let read = |name| cli_config(config, Path::new("config.json"), name);
        assert_eq!(read(None).expect("a"), Some(key("A", None)));
        assert_eq!(read(Some("sts")).expect("sts"), Some(in_file(key("B", Some("t")))));
        assert!(matches!(read(Some("role")).expect("role"), Some(Profile::Role { session_name: Some(s), .. }) if s == "s"));
        assert!(matches!(read(Some("chained")).expect("chained"), Some(Profile::Role { base, .. }) if *base == key("A", None)));
        assert_eq!(read(Some("ecs")).expect("ecs"), Some(Profile::Ecs { role: Some("r".into()) }));
        assert_eq!(read(Some("ext")).expect("ext"), Some(Profile::Process("p".into())));
        assert_eq!((read(Some("new")).expect("new"), read(Some("gone")).expect("gone")), (None, None));
        assert!(read(Some("odd")).expect_err("odd").message().contains("Telepathy"));
        assert!(read(Some("loop")).expect_err("loop").message().contains("each other"));
        assert!(cli_config("{\"secret\":", Path::new("config.json"), None).expect_err("broken").message().contains("config.json"));
    }

    #[test]
    fn ini_files_have_sections_types_and_comments() {
        let text = "# c\n[default]\nenable = true\ntype = access_key\naccess_key_id = A\naccess_key_secret = secret # mine\n[off]\nenable=false\naccess_key_id=B\naccess_key_secret=x\n\
            [r]\ntype=ram_role_arn\naccess_key_id=A\naccess_key_secret=secret\nrole_arn=acs:ram::1:role/r\n";
        let read = |section| credentials_ini(text, Path::new("credentials.ini"), section);
        assert_eq!(read(None).expect("default"), Some(key("A", None)));
        assert_eq!(read(Some("off")).expect("off"), None);
        assert!(matches!(read(Some("r")).expect("r"), Some(Profile::Role { .. })));
        assert_eq!(ossutil("[Credentials]\nlanguage=EN\nendpoint=oss-cn-a.aliyuncs.com\naccessKeyID=A\naccessKeySecret=secret\n"), Some(key("A", None)));
        assert_eq!(ossutil("[default]\naccessKeyId = A\naccessKeySecret = secret\nstsToken = t\n"), Some(in_file(key("A", Some("t")))));
        assert_eq!(ossutil("[Credentials]\naccessKeyID=\n"), None);
    }
}
