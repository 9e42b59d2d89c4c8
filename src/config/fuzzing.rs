//! What must hold of what a person writes, whatever that is: see `storage::fuzzing`.

use super::bandwidth::parse_bandwidth;
use super::setting::Setting;
use super::units::{self, Auto, Parsed, Rate};
use super::{Config, Environment};
use crate::storage::fuzzing::assert_tellable;

/// A dragon.toml. Files that it names are not read: none begins in the directory it is given.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.contains("file:") {
        return;
    }
    match Config::parse("dragon.toml", text, "/nowhere".into(), &[], &Environment::default()) {
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            problems.iter().for_each(assert_tellable);
        }
        Ok(config) => {
            config.missing().for_each(assert_tellable);
            assert!(config.stores.contains_key("s3") && config.stores.contains_key("oss"));
            let shown = config.show();
            assert!(shown.parse::<toml::Table>().is_ok(), "what is shown is no TOML: {shown}");
        }
    }
}

/// A quantity, or a setting, as a flag takes it.
pub fn quantities(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(bytes) = told(units::parse_size(text)) {
        assert_eq!(units::parse_size(&format!("{bytes}B")), Ok(bytes));
    }
    if let Some(Rate::BytesPerSecond(rate)) = told(units::parse_rate(text)) {
        assert!(rate > 0, "a rate that lets nothing pass");
    }
    if let Some(table) = told(parse_bandwidth(text)) {
        table.at(jiff::Timestamp::UNIX_EPOCH);
    }
    if let Some(age) = told(units::parse_age(text)) {
        age.moment(jiff::Timestamp::UNIX_EPOCH);
    }
    if let Some(Auto::Fixed(count)) = told(units::parse_concurrency(text)) {
        assert!((1..=4096).contains(&count));
    }
    told(units::parse_part_size(text));
    told(units::parse_memory(text));
    told(units::parse_delete_limit(text));
    told(Setting::parse(text));
}

/// Words about what a person typed may hold it as it was typed: the terminal showed it already.
fn told<T>(parsed: Parsed<T>) -> Option<T> {
    parsed.inspect_err(|words| assert!(!words.is_empty())).ok()
}
