//! Rules as Terraform, for those who keep their buckets there.
//!
//! Arguments as the providers document them: hashicorp/aws `aws_s3_bucket_lifecycle_configuration`, aliyun/alicloud
//! `alicloud_oss_bucket` with `lifecycle_rule` blocks.

use std::fmt::Write;

use super::change::overlaps;
use super::{Action, Rule, When};
use crate::storage::Service;

/// The resource that makes these rules. It owns the bucket's whole configuration: rules of others must be added to it.
pub fn terraform(service: Service, bucket: &str, rules: &[Rule]) -> String {
    let mut out = Block { text: String::new(), depth: 0 };
    out.line("# Made by `dragon tier plan --terraform`. This resource owns all lifecycle rules of the bucket: add those that are not Dragon's.");
    let name: String = bucket.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let name = if name.starts_with(|c: char| c.is_ascii_digit()) { format!("b_{name}") } else { name };
    let kind = if service == Service::Oss { "alicloud_oss_bucket" } else { "aws_s3_bucket_lifecycle_configuration" };
    out.within(&format!("resource \"{kind}\" \"{name}\""), |out| {
        out.set("bucket", quoted(bucket));
        if service == Service::Oss && overlaps(&rules.iter().collect::<Vec<_>>()) {
            out.set("lifecycle_rule_allow_same_action_overlap", true);
        }
        for rule in rules {
            match service {
                Service::Oss => oss(out, rule),
                _ => s3(out, rule),
            }
        }
    });
    out.text
}

fn s3(out: &mut Block, rule: &Rule) {
    out.within("rule", |out| {
        out.set("id", quoted(&rule.id));
        out.set("status", quoted(if rule.enabled { "Enabled" } else { "Disabled" }));
        let scope = &rule.scope;
        let conditions = usize::from(!scope.prefix.is_empty())
            + scope.tags.len()
            + usize::from(scope.larger_than_bytes.is_some())
            + usize::from(scope.smaller_than_bytes.is_some());
        out.within("filter", |out| {
            if conditions > 1 {
                out.within("and", |out| s3_filter(out, rule, true));
            } else {
                s3_filter(out, rule, false);
            }
        });
        for action in &rule.actions {
            match action {
                Action::Transition { when, class, .. } => out.within("transition", |out| {
                    out.when(*when, "date");
                    out.set("storage_class", quoted(class));
                }),
                Action::Expire { when } => out.within("expiration", |out| out.when(*when, "date")),
                Action::ExpireMarkers => out.within("expiration", |out| out.set("expired_object_delete_marker", "true")),
                Action::TransitionNoncurrent { days, class, newest, .. } => out.within("noncurrent_version_transition", |out| {
                    out.set("noncurrent_days", days);
                    out.newest(*newest);
                    out.set("storage_class", quoted(class));
                }),
                Action::ExpireNoncurrent { days, newest } => out.within("noncurrent_version_expiration", |out| {
                    out.set("noncurrent_days", days);
                    out.newest(*newest);
                }),
                Action::AbortUploads { when } => out.within("abort_incomplete_multipart_upload", |out| {
                    if let When::Days(days) = when {
                        out.set("days_after_initiation", days);
                    }
                }),
            }
        }
    });
}

fn s3_filter(out: &mut Block, rule: &Rule, several: bool) {
    let scope = &rule.scope;
    if !scope.prefix.is_empty() {
        out.set("prefix", quoted(&scope.prefix));
    }
    if several && !scope.tags.is_empty() {
        out.within("tags =", |out| scope.tags.iter().for_each(|(name, value)| out.set(&quoted(name), quoted(value))));
    } else {
        for (name, value) in &scope.tags {
            out.within("tag", |out| {
                out.set("key", quoted(name));
                out.set("value", quoted(value));
            });
        }
    }
    if let Some(bytes) = scope.larger_than_bytes {
        out.set("object_size_greater_than", bytes);
    }
    if let Some(bytes) = scope.smaller_than_bytes {
        out.set("object_size_less_than", bytes);
    }
}

fn oss(out: &mut Block, rule: &Rule) {
    out.within("lifecycle_rule", |out| {
        out.set("id", quoted(&rule.id));
        out.set("prefix", quoted(&rule.scope.prefix));
        out.set("enabled", rule.enabled);
        if !rule.scope.tags.is_empty() {
            out.within("tags =", |out| rule.scope.tags.iter().for_each(|(name, value)| out.set(&quoted(name), quoted(value))));
        }
        let scope = &rule.scope;
        if scope.larger_than_bytes.is_some() || scope.smaller_than_bytes.is_some() || !scope.not.is_empty() {
            out.within("filter", |out| {
                if let Some(bytes) = scope.larger_than_bytes {
                    out.set("object_size_greater_than", bytes);
                }
                if let Some(bytes) = scope.smaller_than_bytes {
                    out.set("object_size_less_than", bytes);
                }
                for not in &scope.not {
                    out.within("not", |out| {
                        out.set("prefix", quoted(&not.prefix));
                        if let Some((name, value)) = &not.tag {
                            out.within("tag", |out| {
                                out.set("key", quoted(name));
                                out.set("value", quoted(value));
                            });
                        }
                    });
                }
            });
        }
        for action in &rule.actions {
            match action {
                Action::Transition { when, class, access } => out.within("transitions", |out| {
                    out.when(*when, "created_before_date");
                    out.set("storage_class", quoted(class));
                    if let Some(access) = access.filter(|access| access.by_access) {
                        out.set("is_access_time", true);
                        out.set("return_to_std_when_visit", access.back_on_visit);
                    }
                }),
                Action::Expire { when } => out.within("expiration", |out| out.when(*when, "created_before_date")),
                Action::ExpireMarkers => out.within("expiration", |out| out.set("expired_object_delete_marker", "true")),
                Action::TransitionNoncurrent { days, class, access, .. } => out.within("noncurrent_version_transition", |out| {
                    out.set("days", days);
                    out.set("storage_class", quoted(class));
                    if let Some(access) = access.filter(|access| access.by_access) {
                        out.set("is_access_time", true);
                        out.set("return_to_std_when_visit", access.back_on_visit);
                    }
                }),
                Action::ExpireNoncurrent { days, .. } => out.within("noncurrent_version_expiration", |out| out.set("days", days)),
                Action::AbortUploads { when } => out.within("abort_multipart_upload", |out| out.when(*when, "created_before_date")),
            }
        }
    });
}

/// Text as HCL quotes it: nothing in it is a template.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' | '%' if chars.peek() == Some(&'{') => out.extend([c, c]),
            c if c.is_control() => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

struct Block {
    text: String,
    depth: usize,
}

impl Block {
    fn line(&mut self, line: &str) {
        self.text.push_str(&"  ".repeat(self.depth));
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn set(&mut self, name: &str, value: impl std::fmt::Display) {
        self.line(&format!("{name} = {value}"));
    }

    fn within(&mut self, head: &str, write: impl FnOnce(&mut Self)) {
        self.line(&format!("{head} {{"));
        self.depth += 1;
        write(self);
        self.depth -= 1;
        self.line("}");
    }

    fn when(&mut self, when: When, date: &str) {
        match when {
            When::Days(days) => self.set("days", days),
            When::On(day) | When::CreatedBefore(day) => self.set(date, quoted(&day.strftime("%Y-%m-%dT00:00:00Z").to_string())),
        }
    }

    fn newest(&mut self, newest: Option<u32>) {
        if let Some(newest) = newest {
            self.set("newer_noncurrent_versions", newest);
        }
    }
}
