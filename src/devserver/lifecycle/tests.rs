//! Tests of what rules judge, and of the round that carries it out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::clock::Clock;
use crate::devserver::calendar::DAY;
use crate::devserver::store::{Attributes, BucketInfo, Store};

const LADDER: &[&str] = &["STANDARD", "STANDARD_IA", "GLACIER", "DEEP_ARCHIVE"];

fn rule(prefix: &str) -> Rule {
    Rule { enabled: true, scope: Scope { prefix: prefix.to_owned(), ..Scope::default() }, ..Rule::default() }
}

fn rules(rules: Vec<Rule>) -> Rules {
    Rules { rules, ladder: LADDER, size_floor: None }
}

fn to(days: i64, class: &str) -> (When, String) {
    (When::Days(days), class.to_owned())
}

async fn store() -> Arc<Store> {
    let store = Store::in_memory(Clock::simulated("2026-01-01T10:00:00Z".parse().expect("a time"), 1));
    store.create_bucket("b", BTreeMap::new()).expect("a new bucket");
    for key in ["a/1", "a/2", "z"] {
        store.put_bytes("b", key, Bytes::from_static(b"bytes")).await.expect("put");
    }
    Arc::new(store)
}

fn class_of(store: &Store, key: &str) -> Option<String> {
    store.object("b", key).expect("there").attributes.storage_class.clone()
}

#[tokio::test(start_paused = true)]
async fn objects_move_on_when_their_days_are_over_and_never_back() {
    fn read(_: &BucketInfo) -> Option<Rules> {
        Some(rules(vec![Rule { transitions: vec![to(30, "STANDARD_IA"), to(90, "GLACIER")], ..rule("a/") }]))
    }
    let store = store().await;
    let lifecycle = Lifecycle::new(Arc::clone(&store), read);
    let written = store.object("b", "a/1").expect("there").last_modified;
    let after = |days: u32| {
        store.calendar().pass(DAY * days);
        lifecycle.tick();
        class_of(&store, "a/1")
    };
    assert_eq!(after(30), None, "the midnight after the 30th day has not come");
    assert_eq!(after(1).as_deref(), Some("STANDARD_IA"));
    assert_eq!(after(60).as_deref(), Some("GLACIER"));
    assert_eq!(class_of(&store, "z"), None);
    let object = store.object("b", "a/1").expect("there");
    assert_eq!((object.last_modified, object.etag.as_str()), (written, "4b3a6218bb3e3a7303e8a171a60fcf92"));
    assert_eq!(object.attributes.transitioned_seconds, Some(store.now().as_second()));
    // Restored, it stays in its class; nothing moves it back to a warmer one.
    assert_eq!(after(1).as_deref(), Some("GLACIER"));
}

#[tokio::test(start_paused = true)]
async fn what_is_due_twice_goes_to_the_coldest_class_and_expiration_goes_first() {
    let store = store().await;
    let object = store.object("b", "a/1").expect("there");
    store.calendar().pass(DAY * 100);
    let judge = |rules: &Rules| rules.fate("a/1", &object, store.calendar());
    let both = rules(vec![Rule { transitions: vec![to(90, "DEEP_ARCHIVE")], ..rule("") }, Rule { transitions: vec![to(30, "GLACIER")], ..rule("a") }]);
    assert_eq!(judge(&both), Some(Fate::Move("DEEP_ARCHIVE".into())));
    let ends = Rule { expiration: Some(When::Days(99)), ..rule("a/") };
    assert_eq!(judge(&rules(vec![both.rules[0].clone(), ends.clone()])), Some(Fate::Expire));
    assert_eq!(judge(&rules(vec![Rule { enabled: false, ..ends.clone() }])), None);
    let date = |text: &str| text.parse().expect("a time");
    assert_eq!(judge(&rules(vec![Rule { expiration: Some(When::From(date("2026-05-01T00:00:00Z"))), ..ends.clone() }])), None);
    assert_eq!(judge(&rules(vec![Rule { expiration: Some(When::From(date("2026-04-01T00:00:00Z"))), ..ends.clone() }])), Some(Fate::Expire));
    assert_eq!(judge(&rules(vec![Rule { expiration: Some(When::OlderThan(date("2026-01-01T00:00:00Z"))), ..ends.clone() }])), None);
    assert_eq!(judge(&rules(vec![Rule { expiration: Some(When::OlderThan(date("2026-01-02T00:00:00Z"))), ..ends }])), Some(Fate::Expire));
}

#[tokio::test(start_paused = true)]
async fn tags_sizes_and_exceptions_say_what_a_rule_is_about() {
    let store = store().await;
    let plain = store.object("b", "a/1").expect("there");
    let mut tagged = Object::clone(&plain);
    tagged.attributes = Arc::new(Attributes { tags: BTreeMap::from([("temp".to_owned(), "yes".to_owned())]), ..Attributes::default() });
    store.calendar().pass(DAY * 100);
    let fate = |scope: Scope, object: &Object| {
        rules(vec![Rule { scope, transitions: vec![to(1, "GLACIER")], ..rule("") }]).fate("a/1", object, store.calendar()).is_some()
    };
    let tags = || tagged.attributes.tags.clone();
    assert!(fate(Scope { tags: tags(), ..Scope::default() }, &tagged) && !fate(Scope { tags: tags(), ..Scope::default() }, &plain));
    assert!(fate(Scope { larger_than_bytes: Some(4), ..Scope::default() }, &plain) && !fate(Scope { larger_than_bytes: Some(5), ..Scope::default() }, &plain));
    assert!(
        fate(Scope { smaller_than_bytes: Some(6), ..Scope::default() }, &plain) && !fate(Scope { smaller_than_bytes: Some(5), ..Scope::default() }, &plain)
    );
    let except = |prefix: &str, tag| Scope { exceptions: vec![Exception { prefix: prefix.to_owned(), tag }], ..Scope::default() };
    assert!(!fate(except("a/", None), &plain) && fate(except("b/", None), &plain));
    let temp = || Some(("temp".to_owned(), "yes".to_owned()));
    assert!(!fate(except("a/", temp()), &tagged) && fate(except("a/", temp()), &plain));
    // Too small to move, unless the rule itself speaks of size, or the class takes any.
    let floored = |exempt: &'static [&'static str], scope: Scope| {
        let floored =
            Rules { size_floor: Some(SizeFloor { bytes: 128 << 10, exempt }), ..rules(vec![Rule { scope, transitions: vec![to(1, "GLACIER")], ..rule("") }]) };
        floored.fate("a/1", &plain, store.calendar()).is_some()
    };
    assert!(!floored(&[], Scope::default()) && floored(&["GLACIER"], Scope::default()));
    assert!(floored(&[], Scope { larger_than_bytes: Some(1), ..Scope::default() }));
}

#[tokio::test(start_paused = true)]
async fn objects_expire_and_uploads_are_aborted_once_a_day() {
    fn read(_: &BucketInfo) -> Option<Rules> {
        Some(rules(vec![Rule { expiration: Some(When::Days(7)), abort_uploads: Some(When::Days(3)), ..rule("a/") }]))
    }
    let store = store().await;
    let upload = store.create_upload("b", "a/up", Attributes::default(), None).expect("a bucket");
    let other = store.create_upload("b", "up", Attributes::default(), None).expect("a bucket");
    let lifecycle = Lifecycle::new(Arc::clone(&store), read);
    store.calendar().pass(DAY * 4);
    lifecycle.tick();
    assert!(store.upload("b", "a/up", &upload).is_err() && store.upload("b", "up", &other).is_ok());
    assert_eq!(store.usage("b").expect("there").0, 3);
    store.calendar().pass(DAY * 4);
    lifecycle.tick();
    assert_eq!(store.usage("b").expect("there").0, 1);
    // What is written now is as old as the clock says.
    store.put_bytes("b", "a/new", Bytes::new()).await.expect("put");
    store.calendar().pass(Duration::from_secs(60));
    lifecycle.round();
    assert!(store.object("b", "a/new").is_ok());
}

#[tokio::test(start_paused = true)]
async fn former_versions_age_from_when_they_were_superseded_and_lone_markers_go() {
    fn read(_: &BucketInfo) -> Option<Rules> {
        let former = |days, spared| Noncurrent { days, spared };
        let ages = Rule { noncurrent_transitions: vec![(former(1, 0), "GLACIER".to_owned())], noncurrent_expiration: Some(former(3, 1)), ..rule("a/") };
        Some(rules(vec![ages, Rule { expiration: Some(When::Days(9)), ..rule("z") }, Rule { removes_lone_markers: true, ..rule("z") }]))
    }
    let store = store().await;
    store.set_bucket_property("b", crate::devserver::store::VERSIONING, Some("Enabled".to_owned())).expect("a bucket");
    let lifecycle = Lifecycle::new(Arc::clone(&store), read);
    let count = |key: &str| {
        let query = crate::devserver::store::ListQuery { prefix: key, limit: 100, ..Default::default() };
        store.list_versions("b", &query, "").expect("a bucket").entries.len()
    };
    let after = |days: u32| {
        store.calendar().pass(DAY * days);
        lifecycle.tick();
    };
    after(5);
    assert_eq!(store.find("b", "a/1", Some("null")).expect("there").attributes.storage_class, None, "it is current, however old");
    for text in ["two", "three"] {
        store.put_bytes("b", "a/1", Bytes::from_static(text.as_bytes())).await.expect("put");
    }
    after(2);
    let class = |id| store.find("b", "a/1", id).expect("there").attributes.storage_class.clone();
    assert_eq!((class(Some("null")).as_deref(), class(None)), (Some("GLACIER"), None));
    assert_eq!(count("a/1"), 3);
    after(2);
    assert_eq!(count("a/1"), 2, "the newest former version is spared");
    // An expiration hides what is current; when the former version is gone too, the marker goes by itself.
    after(2);
    assert!(store.object("b", "z").is_err());
    assert_eq!(count("z"), 2);
    store.delete("b", "z", Some("null"), |_| Ok::<_, crate::devserver::store::Refusal>(())).expect("gone");
    after(1);
    assert_eq!(count("z"), 0);
}
