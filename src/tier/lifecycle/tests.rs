//! Documented examples of both clouds, and every rule that there can be.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::storage::{Key, Service};
use crate::tier::rule as job_rule;

const EXAMPLES: [(&str, Service, &str); 5] = [
    ("s3-tiering", Service::S3, include_str!("../../../tests/data/lifecycle/s3-tiering.xml")),
    ("s3-filters", Service::S3, include_str!("../../../tests/data/lifecycle/s3-filters.xml")),
    ("s3-versions", Service::S3, include_str!("../../../tests/data/lifecycle/s3-versions.xml")),
    ("oss-tiering", Service::Oss, include_str!("../../../tests/data/lifecycle/oss-tiering.xml")),
    ("oss-access", Service::Oss, include_str!("../../../tests/data/lifecycle/oss-access.xml")),
];

fn other(service: Service) -> Service {
    if service == Service::S3 { Service::Oss } else { Service::S3 }
}

/// Holds a text against a file of tests/data/lifecycle, or writes it there.
fn golden(name: &str, text: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/lifecycle").join(name);
    if std::env::var_os("DRAGON_BLESS").is_some() {
        std::fs::write(&path, text).expect("written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, kept, "{name}: see tests/data/lifecycle/README.md");
}

#[test]
fn documented_examples_mean_what_they_say() {
    for (name, service, xml) in EXAMPLES {
        let read = Configuration::read(service, xml).expect(name);
        let mut text = String::new();
        let mut rules = Vec::new();
        for stated in &read.rules {
            match &stated.rule {
                Err(why) => text += &format!("{}\n  not understood: {why}\n", stated.id),
                Ok(rule) => {
                    let translated = translate(rule, service, other(service));
                    text += &format!("{rule}\n");
                    match &translated.rule {
                        Some(there) => text += &format!("  {}: {there}\n", other(service)),
                        None => text += &format!("  {}: nothing\n", other(service)),
                    }
                    translated.told.iter().for_each(|told| text += &format!("    {told}\n"));
                    rules.push(rule.clone());
                    let again = Stated::write(service, rule).text;
                    let document = format!("<LifecycleConfiguration>{again}</LifecycleConfiguration>");
                    let again = Configuration::read(service, &document).expect("what was written").rules.remove(0).rule;
                    assert_eq!(again.map(|rule| document::meaning(&rule)), Ok(document::meaning(rule)), "{name}");
                }
            }
        }
        golden(&format!("{name}.txt"), &text);
        golden(&format!("{name}.tf"), &terraform(service, "my-bucket", &rules));
    }
}

#[test]
fn what_is_no_configuration_is_an_error() {
    for bad in [
        "",
        "<LifecycleConfiguration>",
        "<Error><Code>AccessDenied</Code></Error>",
        "<LifecycleConfiguration><Policy/></LifecycleConfiguration>",
        "<LifecycleConfiguration><Policy>x</Policy></LifecycleConfiguration>",
        "<LifecycleConfiguration><Rule/></LifecycleConfiguration>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]><LifecycleConfiguration><Rule><ID>&a;</ID></Rule></LifecycleConfiguration>",
        &format!("<LifecycleConfiguration>{}</LifecycleConfiguration>", "<Rule><ID>x</ID></Rule>".repeat(1001)),
        &format!("<LifecycleConfiguration>{}", "<Rule>".repeat(1000)),
    ] {
        Configuration::read(Service::S3, bad).expect_err(&bad[..bad.len().min(80)]);
    }
    assert_eq!(Configuration::read(Service::Oss, "<LifecycleConfiguration/>").expect("empty").rules, []);
}

fn of(name: &str, prefix: &str, actions: Vec<job_rule::Action>) -> job_rule::Rule {
    let scope = job_rule::Scope { prefix: prefix.into(), size_bytes_min: Some(1000), size_bytes_max: Some(2000), ..job_rule::Scope::default() };
    job_rule::Rule { name: name.into(), scope, actions, age_by: job_rule::AgeBy::Modified, by: job_rule::By::Cloud }
}

fn cool(age_days: u32, class: &str) -> job_rule::Action {
    job_rule::Action::Transition { age_days, class: class.into() }
}

#[test]
fn a_jobs_rule_lies_under_its_place_and_holds_the_sizes_it_names() {
    let rule = of_rule(&of("cool", "raw/", vec![cool(30, "IA")]), "photos", &Key::from("cn/"), Service::Oss).expect("said");
    assert_eq!((rule.id.as_str(), rule.scope.prefix.as_str()), ("dragon-photos.cool", "cn/raw/"));
    assert_eq!((rule.scope.larger_than_bytes, rule.scope.smaller_than_bytes), (Some(999), Some(2001)), "the services' bounds are not in the range");
    assert_eq!(rule.to_string(), "dragon-photos.cool  cn/raw/ over 999 bytes below 2001 bytes: IA after 30 days");
}

#[test]
fn what_the_service_would_refuse_is_refused_before_it_is_asked() {
    let refused = |service, actions| of_rule(&of("r", "", actions), "j", &Key::EMPTY, service).expect_err("refused").to_string();
    use job_rule::Action::{AbortUploads, Expire, ExpireNoncurrent};
    for (service, actions, told) in [
        (Service::Oss, vec![cool(30, "STANDARD_IA")], "most like it there is IA"),
        (Service::S3, vec![cool(29, "STANDARD_IA")], "30 days and more"),
        (Service::S3, vec![cool(30, "STANDARD_IA"), cool(40, "GLACIER")], "stays in STANDARD_IA for 30 days"),
        (Service::Oss, vec![cool(30, "Archive"), cool(60, "IA")], "comes before"),
        (Service::Oss, vec![cool(30, "IA"), cool(30, "Archive")], "comes before"),
        (Service::S3, vec![cool(30, "GLACIER"), Expire { age_days: 30 }], "deletes after 30 days"),
        (Service::Oss, vec![cool(30, "Standard")], "nothing moves to Standard"),
        (Service::S3, vec![cool(30, "REDUCED_REDUNDANCY")], "nothing moves to REDUCED_REDUNDANCY"),
        (Service::S3, vec![cool(30, "INTELLIGENT_TIERING"), cool(90, "STANDARD_IA")], "comes before"),
        (Service::S3, vec![ExpireNoncurrent { age_days: 30, newest: 101 }], "100 old versions"),
        (
            Service::S3,
            vec![job_rule::Action::TransitionNoncurrent { age_days: 30, class: "GLACIER".into() }, ExpireNoncurrent { age_days: 30, newest: 0 }],
            "removes old versions after 30 days",
        ),
        (Service::Oss, vec![ExpireNoncurrent { age_days: 3, newest: 2 }], "does not count versions"),
        (Service::S3, vec![AbortUploads { age_days: 3 }], "have no size"),
        (Service::S3, vec![job_rule::Action::Keep(crate::tier::retention::Retention::default())], "snapshots"),
    ] {
        let error = refused(service, actions);
        assert!(error.contains(told) && error.contains("'r'"), "{error}");
    }
}

#[test]
fn orders_that_amazon_takes_are_taken() {
    for (earlier, later) in [
        ("STANDARD_IA", "GLACIER_IR"),
        ("STANDARD_IA", "INTELLIGENT_TIERING"),
        ("INTELLIGENT_TIERING", "GLACIER"),
        ("GLACIER_IR", "DEEP_ARCHIVE"),
        ("STANDARD_IA", "ONEZONE_IA"),
    ] {
        of_rule(&of("r", "", vec![cool(30, earlier), cool(90, later)]), "j", &Key::EMPTY, Service::S3).expect(later);
    }
}

#[test]
fn what_is_not_understood_is_compared_by_its_letters_and_may_overlap() {
    let document = |days: u32| {
        format!(
            "<LifecycleConfiguration><Rule><ID>x</ID><Prefix/><Status>Enabled</Status><Teleport><Days>{days}</Days></Teleport></Rule></LifecycleConfiguration>"
        )
    };
    assert!(same(Service::Oss, Some(&document(1)), Some(&document(1))).expect("readable"));
    assert!(!same(Service::Oss, Some(&document(1)), Some(&document(999))).expect("readable"), "somebody else changed theirs meanwhile");
    let held = Configuration::read(Service::Oss, &document(1)).expect("readable");
    let rule = |id: &str| Rule { id: id.into(), enabled: true, scope: Scope::default(), actions: vec![Action::ExpireMarkers] };
    assert!(plan(Service::Oss, Some(&held), |_| false, &[rule("y")]).expect("planned").overlaps);
    for wanted in [vec![rule("x")], vec![rule("y"), rule("y")]] {
        plan(Service::Oss, Some(&held), |_| false, &wanted).expect_err("two of an id");
    }
    let twice = "<LifecycleConfiguration><Rule><ID>x</ID><Filter><Prefix>a</Prefix></Filter><Filter><Prefix>b</Prefix></Filter><Status>Enabled</Status></Rule></LifecycleConfiguration>";
    assert!(Configuration::read(Service::S3, twice).expect("readable").rules[0].rule.as_ref().is_err_and(|why| why.contains("two <Filter>")));
}

#[test]
fn of_two_classes_that_become_one_the_earlier_move_stays() {
    let moved = |days, class: &str| Action::Transition { when: When::Days(days), class: class.into(), access: None };
    let rule = Rule { id: "x".into(), enabled: true, scope: Scope::default(), actions: vec![moved(180, "ColdArchive"), moved(60, "Archive")] };
    let there = translate(&rule, Service::Oss, Service::S3).rule.expect("said");
    assert_eq!(there.actions, [moved(60, "GLACIER")]);
}

#[test]
fn foreign_rules_stay_letter_for_letter_and_ours_become_what_is_wanted() {
    let (_, service, xml) = EXAMPLES[4];
    let foreign = xml.split_once("<LifecycleConfiguration>").and_then(|(_, rest)| rest.rsplit_once("</LifecycleConfiguration>")).expect("rules").0;
    let rule = |name: &str, days: u32| of_rule(&of(name, name, vec![cool(days, "IA")]), "j", &Key::EMPTY, service).expect("said");
    let mine = |id: &str| id.starts_with(&job_rule::id_prefix("j"));
    let current = |document: &Option<String>| document.as_deref().map(|text| Configuration::read(service, text).expect("readable"));
    let first = plan(service, Some(&Configuration::read(service, xml).expect("read")), mine, &[rule("a", 30), rule("b", 30), rule("c", 30)]).expect("planned");
    assert_eq!((first.foreign, first.changes.len(), first.is_empty()), (4, 3, false));
    let second = plan(service, current(&first.document).as_ref(), mine, &[rule("a", 30), rule("b", 60), rule("d", 30)]).expect("planned");
    golden("diff.txt", &second.to_string());
    for text in foreign.split("<Rule>").skip(1).map(|text| text.trim_end()) {
        for document in [&first.document, &second.document] {
            assert!(document.as_deref().expect("rules").contains(&format!("<Rule>{text}")), "{text}");
        }
    }
    let third = plan(service, current(&second.document).as_ref(), mine, &[rule("a", 30), rule("b", 60), rule("d", 30)]).expect("planned");
    assert!(third.is_empty() && third.document == second.document, "done is done");
    assert!(same(service, second.document.as_deref(), third.document.as_deref()).expect("readable"));
    assert!(!same(service, first.document.as_deref(), second.document.as_deref()).expect("readable"));
    let none = plan(service, current(&second.document).as_ref(), |_| true, &[]).expect("planned");
    assert_eq!((none.document, none.changes.len()), (None, 7), "nothing is left, so the configuration goes");
    // Another job whose name begins alike.
    let theirs = of_rule(&of("a", "", vec![cool(30, "IA")]), "j-2", &Key::EMPTY, service).expect("said");
    let both = plan(service, current(&second.document).as_ref(), |id| id.starts_with(&job_rule::id_prefix("j-2")), &[theirs]).expect("planned");
    assert_eq!((both.foreign, both.overlaps), (7, true));
}

fn scopes(service: Service) -> impl Strategy<Value = Scope> {
    let not = vec(("[a-z/]{1,5}", option::of(("[a-z]{1,3}", "[a-z]{1,3}"))).prop_map(|(prefix, tag)| Not { prefix, tag }), 0..2);
    ("[ a-z&<>\"'/中]{0,6}", btree_map("[a-z&]{1,4}", "[ a-z<]{1,4}", 0..3), option::of(0u64..1000), option::of(1000u64..9000), not).prop_map(
        move |(prefix, tags, larger_than_bytes, smaller_than_bytes, not)| {
            let not = if service == Service::Oss { not } else { Vec::new() };
            // Space around a prefix is the prefix's.
            Scope { prefix, tags, larger_than_bytes, smaller_than_bytes, not }
        },
    )
}

fn actions(service: Service) -> impl Strategy<Value = Vec<Action>> {
    let day = (0i64..20_000).prop_map(|day| Timestamp::from_second(day * 86_400).expect("a time"));
    let when =
        prop_oneof![(1u32..3000).prop_map(When::Days), day.prop_map(move |day| if service == Service::Oss { When::CreatedBefore(day) } else { When::On(day) })];
    let classes: Vec<&'static str> =
        crate::storage::class::CLASSES.iter().filter(|class| class.service == service && !class.is_standard()).map(|class| class.word).collect();
    let class = prop::sample::select(classes);
    let access = move || {
        option::of((any::<bool>(), any::<bool>(), any::<bool>()))
            .prop_map(move |access| {
                access.filter(|_| service == Service::Oss).map(|(by_access, back, small)| Access { by_access, back_on_visit: by_access && back, small })
            })
            .prop_map(|access| access.filter(|access| *access != Access::default()))
    };
    let newest = move || option::of(1u32..100).prop_map(move |newest| newest.filter(|_| service == Service::S3));
    let one = prop_oneof![
        (when.clone(), class.clone(), access()).prop_map(|(when, class, access)| Action::Transition { when, class: class.into(), access }),
        (1u32..3000, class, newest(), access()).prop_map(|(days, class, newest, access)| Action::TransitionNoncurrent {
            days,
            class: class.into(),
            newest,
            access
        }),
        (1u32..3000, newest()).prop_map(|(days, newest)| Action::ExpireNoncurrent { days, newest }),
        (1u32..3000).prop_map(|days| Action::AbortUploads { when: When::Days(days) }),
    ];
    (vec(one, 1..4), option::of(when), any::<bool>()).prop_map(|(mut actions, expire, markers)| {
        match (expire, markers) {
            (Some(when), _) => actions.push(Action::Expire { when }),
            (None, true) => actions.push(Action::ExpireMarkers),
            (None, false) => {}
        }
        // Each kind that a document holds once.
        let mut seen = Vec::new();
        actions.retain(|action| {
            matches!(action, Action::Transition { .. } | Action::TransitionNoncurrent { .. })
                || !seen.contains(&action.kind()) && {
                    seen.push(action.kind());
                    true
                }
        });
        actions
    })
}

fn rules(service: Service) -> impl Strategy<Value = Rule> {
    ("[a-z .&]{1,10}", any::<bool>(), scopes(service), actions(service)).prop_map(|(id, enabled, scope, actions)| Rule { id, enabled, scope, actions })
}

fn round_trip(service: Service, rule: &Rule) -> Result<Rule, String> {
    let document = format!("<LifecycleConfiguration>\n{}\n</LifecycleConfiguration>", Stated::write(service, rule).text);
    Configuration::read(service, &document).expect("readable").rules.remove(0).rule
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(s3 in rules(Service::S3), oss in rules(Service::Oss)) {
        for (service, rule) in [(Service::S3, s3), (Service::Oss, oss)] {
            prop_assert_eq!(round_trip(service, &rule).map(|rule| document::meaning(&rule)), Ok(document::meaning(&rule)));
        }
    }

    #[test]
    fn a_translation_that_tells_nothing_comes_back_as_it_was(s3 in rules(Service::S3), oss in rules(Service::Oss)) {
        for (service, rule) in [(Service::S3, s3), (Service::Oss, oss)] {
            let there = translate(&rule, service, other(service));
            prop_assert!(there.rule.is_some() || !there.told.is_empty(), "nothing goes in silence");
            let Some(translated) = there.rule else { continue };
            prop_assert_eq!(check(other(service), &translated), Vec::<String>::new());
            prop_assert_eq!(&translated.scope, &rule.scope, "it never takes more objects, and never others");
            prop_assert!(translated.actions.len() == rule.actions.len() || !there.told.is_empty());
            if there.told.is_empty() && check(service, &rule).is_empty() {
                prop_assert_eq!(translate(&translated, other(service), service).rule.map(|rule| document::meaning(&rule)), Some(document::meaning(&rule)));
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_hang(text in "(<|>|/|Rule|ID|x|&|;|LifecycleConfiguration|Filter|And|Days|[0-9]|\n){0,60}") {
        for service in [Service::S3, Service::Oss] {
            let _ = Configuration::read(service, &text);
            let _ = Configuration::read(service, &format!("<LifecycleConfiguration><Rule>{text}</Rule></LifecycleConfiguration>"));
        }
    }

    #[test]
    fn a_plan_keeps_every_foreign_rule_and_reaches_what_is_wanted(foreign in vec(rules(Service::Oss), 0..4), wanted in vec(rules(Service::Oss), 0..4)) {
        let service = Service::Oss;
        let foreign: Vec<Rule> = foreign.into_iter().enumerate().map(|(n, rule)| Rule { id: format!("theirs-{n}"), ..rule }).collect();
        let wanted: Vec<Rule> = wanted.into_iter().enumerate().map(|(n, rule)| Rule { id: format!("dragon-j.{n}"), ..rule }).collect();
        let texts: Vec<Stated> = foreign.iter().map(|rule| Stated::write(service, rule)).collect();
        let held = Configuration { rules: texts.clone() };
        let planned = plan(service, Some(&held), |id| id.starts_with("dragon-j."), &wanted).expect("planned");
        let after = planned.document.as_deref().map(|text| Configuration::read(service, text).expect("readable")).unwrap_or_default();
        let text = |stated: &Stated| stated.text.clone();
        prop_assert_eq!(after.rules[..texts.len()].iter().map(text).collect::<Vec<_>>(), texts.iter().map(text).collect::<Vec<_>>());
        let ours: Vec<Rule> = after.rules[texts.len()..].iter().map(|stated| document::meaning(stated.rule.as_ref().expect("understood"))).collect();
        prop_assert_eq!(ours, wanted.iter().map(document::meaning).collect::<Vec<_>>());
        prop_assert!(plan(service, Some(&after), |id| id.starts_with("dragon-j."), &wanted).expect("planned").is_empty());
    }
}
