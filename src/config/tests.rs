use super::*;

fn parse_in(text: &str, settings: &[&str], environment: Environment) -> Result<Config, Vec<String>> {
    let settings: Vec<_> = settings.iter().map(|s| Setting::parse(s).expect("a setting")).collect();
    Config::parse("dragon.toml", text, "/etc/dragon".into(), &settings, &environment).map_err(|all| all.iter().map(ToString::to_string).collect())
}

fn parse(text: &str) -> Result<Config, Vec<String>> {
    parse_in(text, &[], Environment::default())
}

fn problem(text: &str) -> String {
    parse(text).expect_err("a problem").join("\n")
}

#[test]
fn the_example_is_valid_and_says_every_table() {
    let text = include_str!("../../dragon.toml.example");
    let config = parse_in(text, &[], Environment::default()).expect("the example");
    assert!(config.stores.len() > 3 && !config.jobs.is_empty());
    // What is commented out is right too.
    let is_key = |l: &&str| l.split_once(" = ").is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()));
    let all = text.lines().map(|line| line.strip_prefix("# ").filter(is_key).unwrap_or(line)).collect::<Vec<_>>().join("\n");
    parse_in(&all, &[], Environment::default()).expect("the example with every line in force");
}

#[test]
fn without_a_file_there_are_the_built_in_stores() {
    let config = parse("").expect("nothing");
    assert_eq!(config.stores.keys().map(String::as_str).collect::<Vec<_>>(), ["oss", "s3"]);
}

#[test]
fn mistakes_are_told_all_at_once_with_their_place() {
    let problems =
        parse("[stores.a]\ntype = \"oss\"\nregoin = \"x\"\n[engine]\nmemory = 512\n[[jobs]]\nname = \"n\"\nsource = \"photos\"\n").expect_err("mistakes");
    let all = problems.join("\n");
    assert!(all.contains("dragon.toml:3:1: stores.a.regoin: no such key; did you mean 'region'?"), "{all}");
    assert!(all.contains("dragon.toml:5:10: engine.memory: '512' has no unit"), "{all}");
    assert!(all.contains("jobs.n.source") && all.contains("./photos"), "{all}");
    assert!(all.contains("a job needs a destination"), "{all}");
    assert!(problem("a = \n").starts_with("dragon.toml:1:5: this is not TOML"), "{}", problem("a = \n"));
    assert!(problem("[store.a]\n").contains("did you mean 'stores'?"));
    assert!(problem("[stores.a]\ntype = \"osss\"\n").contains("did you mean 'oss'?"));
    assert!(problem("[stores.a]\nregion = \"x\"\n").contains("the store has no type"));
    assert!(problem("[stores.a]\ntype = \"s3\"\nsecret_access_key = \"x\"\n").contains("it needs access_key_id beside it"));
}

#[test]
fn what_a_mistake_quotes_cannot_steer_a_terminal() {
    let told = problem("\"\\u001b[2J\" = 1\n[engine]\nmemory = \"\\u202e1\\n\"\n");
    assert!(told.contains("\\u{1b}[2J") && told.contains("\\u{202e}1"), "{told}");
    assert!(!told.contains(['\u{1b}', '\u{202e}']), "{told:?}");
}

#[test]
fn a_missing_secret_matters_once_its_store_is_used() {
    let config = parse("[stores.a]\ntype = \"s3\"\naccess_key_id = \"id\"\nsecret_access_key = \"env:NOT_SET\"\n").expect("valid");
    let missing: Vec<_> = config.missing().map(ToString::to_string).collect();
    assert_eq!(missing, ["dragon.toml:4:21: stores.a.secret_access_key: the environment variable NOT_SET is not set"]);
}

#[test]
fn settings_come_before_the_file_and_may_make_a_store() {
    let text = "[stores.s3]\nregion = \"us-east-1\"\npath_style = false\n";
    let config = parse_in(text, &["stores.s3.path_style=true", "stores.new.type=oss", "stores.new.region=cn-beijing"], Environment::default()).expect("valid");
    let store::StoreKind::S3(options) = &config.stores["s3"].kind else { panic!("s3 is of type s3") };
    assert_eq!((options.region.as_deref(), options.path_style), (Some("us-east-1"), Some(true)));
    assert!(matches!(config.stores["new"].kind, store::StoreKind::Oss(_)));
    let refused = parse_in("", &["stores.s3.path_stile=true"], Environment::default()).expect_err("a mistake").join("");
    assert!(refused.starts_with("--set stores.s3.path_stile: stores.s3.path_stile: no such key; did you mean 'path_style'?"), "{refused}");
}

#[test]
fn jobs_that_fight_are_refused() {
    let job = |name: &str, source: &str, destination: &str| format!("[[jobs]]\nname = \"{name}\"\nsource = \"{source}\"\ndestination = \"{destination}\"\n");
    let both = |a: (&str, &str), b: (&str, &str)| parse(&(job("a", a.0, a.1) + &job("b", b.0, b.1)));
    assert!(both(("s3://x", "oss://y"), ("s3://x", "oss://z")).is_ok(), "one source may feed two");
    assert!(both(("s3://x", "oss://y"), ("oss://y", "s3://z")).is_ok(), "a chain is no circle");
    let told = |r: Result<Config, Vec<String>>, what: &str| assert!(r.expect_err(what).join("").contains(what));
    told(both(("s3://x", "oss://y"), ("oss://y", "s3://x/sub")), "copy in a circle");
    told(both(("s3://x", "oss://y"), ("s3://z", "oss://y/sub")), "write to the same place");
    told(parse(&job("a", "s3://x", "s3://x/sub")), "overlaps the source");
    told(parse(&(job("a", "s3://x", "oss://y") + &job("a", "s3://x", "oss://z"))), "another job of the name 'a'");
    told(parse(&job("a", "s3://x", "osss://y")), "did you mean 'oss'?");
    // Two names of one service are one place.
    let alias = "[stores.east]\ntype = \"s3\"\nregion = \"us-east-1\"\n";
    told(parse(&(alias.to_owned() + &job("a", "s3://x", "east://x/sub"))), "overlaps the source");
}

#[test]
fn keys_of_another_partition_are_not_borrowed() {
    let china = "[stores.cn]\ntype = \"s3\"\nregion = \"cn-north-1\"\n";
    let environment = || Environment::of([("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_REGION", "us-east-1")]);
    let told = parse_in(china, &[], environment()).expect_err("borrowed").join("");
    assert!(told.contains("aws-cn") && told.contains("belong to aws"), "{told}");
    assert!(parse_in(&(china.to_owned() + "profile = \"china\"\n"), &[], environment()).is_ok());
    assert!(parse_in("[stores.de]\ntype = \"s3\"\nregion = \"eu-central-1\"\n", &[], environment()).is_ok());
}

#[test]
fn what_is_shown_holds_no_secret() {
    let text = "[stores.a]\ntype = \"s3\"\naccess_key_id = \"AKIA1\"\nsecret_access_key = \"hunter2\"\nproxy = \"http://u:hunter2@proxy\"\n\
                [stores.b]\ntype = \"object_store\"\nscheme = \"gs\"\noptions = { google_service_account_key = \"hunter2\" }\n\
                [stores.c]\ntype = \"oss\"\naccess_key_id = \"x\"\naccess_key_secret = \"env:C\"\n";
    let config = parse_in(text, &["stores.c.region=cn-beijing"], Environment::of([("C", "hunter2")])).expect("valid");
    let shown = config.show();
    assert!(!shown.contains("hunter2") && shown.contains("AKIA1") && shown.contains("env:C") && shown.contains("cn-beijing"), "{shown}");
    assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
}

#[test]
fn configuration_is_looked_for_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let at = |name: &str, region: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(&path, format!("[stores.{region}]\ntype = \"s3\"\n")).expect("written");
        path
    };
    let home = at("home/.config/dragon/dragon.toml", "home");
    let mut lookup = Lookup {
        environment: Environment::of([("HOME", dir.path().join("home").to_str().expect("utf-8"))]),
        directory: dir.path().into(),
        ..Lookup::default()
    };
    let load = |lookup: &Lookup| Config::load(lookup).expect("valid").stores.into_keys().collect::<Vec<_>>();
    assert_eq!(Config::load(&lookup).expect("valid").file, Some(home));
    at("dragon.toml", "here");
    assert_eq!(load(&lookup), ["here", "oss", "s3"]);
    let named = at("named.toml", "named");
    lookup.environment = Environment::of([("DRAGON_CONFIG", named.to_str().expect("utf-8"))]);
    assert_eq!(load(&lookup), ["named", "oss", "s3"]);
    lookup.file = Some(dir.path().join("absent.toml"));
    assert!(Config::load(&lookup).expect_err("absent").to_string().contains("absent.toml cannot be read"));
}

fn with_rule(job: &str, rule: &str) -> String {
    format!("[[jobs]]\nname = \"j\"\nsource = \"s3://a/\"\ndestination = \"oss://b/\"\n{job}\n[[jobs.tier]]\nname = \"r\"\n{rule}\n")
}

#[test]
fn a_rule_is_carried_out_by_whom_it_can_be() {
    use crate::tier::rule::{Action, By};
    let read = |rule: &str| parse(&with_rule("", rule)).expect(rule).jobs[0].tier[0].clone();
    let cool = read("transitions = [\"IA after 30d\", \"Archive after 12w\"]");
    assert_eq!((cool.on, cool.rule.by), (tier::On::Destination, By::Cloud));
    assert_eq!(cool.rule.actions[1], Action::Transition { age_days: 84, class: "Archive".into() });
    assert_eq!(read("keep_daily = 7").rule.by, By::Dragon);
    assert_eq!(read("transitions = \"IA after 30d\"\nage_by = \"journal\"").rule.by, By::Dragon);
    assert_eq!(read("on = \"/backups\"\nexpire = \"30d\"").rule.by, By::Dragon, "a directory has no rules of its own");
    parse(&with_rule("newer_than = \"30d\"", "expire = \"30d\"")).expect("what is deleted is not copied again");
    let dated = with_rule("", "expire = \"30d\"").replace("oss://b/", "oss://b/{date}/");
    parse(&dated).expect("a day that is past is not copied again");
    assert!(problem(&(dated + "age_by = \"journal\"")).contains("no third place"));
}

#[test]
fn rules_that_would_go_wrong_every_night_are_refused() {
    for (rule, told) in [
        ("expire = \"30d\"", "would copy it again"),
        ("transitions = [\"IAA after 30d\"]", "did you mean 'IA'?"),
        ("transitions = [\"IA 30d\"]", "IA after 30d"),
        ("transitions = [\"IA after 30h\"]", "whole days"),
        ("transitions = [\"Archive after 30d\", \"IA after 60d\"]", "only sink"),
        ("", "does nothing"),
        ("keep_daily = 0", "keeps nothing"),
        ("keep_daily = 7\nby = \"cloud\"", "only Dragon"),
        ("abort_uploads = \"7d\"\nby = \"dragon\"", "the cloud must"),
        ("noncurrent_newest = 3", "noncurrent_expire"),
        ("on = \"nowhere\"\nexpire = \"30d\"", "neither source nor destination"),
        ("on = \"vault://b/\"\nabort_uploads = \"7d\"", "no store 'vault'"),
        ("on = \"/backups\"\ntransitions = \"IA after 30d\"", "no storage classes"),
        ("on = \"oss://c/\"\nkeep_daily = 3\nage_by = \"journal\"", "no third place"),
        ("keep_dayly = 7", "did you mean 'keep_daily'?"),
    ] {
        let problem = problem(&with_rule("", rule));
        assert!(problem.contains(told) && problem.contains("dragon.toml:"), "{rule}: {problem}");
    }
    let twice = with_rule("", "keep_daily = 7\n[[jobs.tier]]\nname = \"r\"\nkeep_daily = 8");
    assert!(problem(&twice).contains("another rule of the name"));
}

#[test]
fn a_destination_with_a_date_is_everything_before_it() {
    let job = |name: &str, destination: &str, more: &str| format!("[[jobs]]\nname = \"{name}\"\nsource = \"s3://x\"\ndestination = \"{destination}\"\n{more}");
    let told = |text: &str, what: &str| {
        let problems = problem(text);
        assert!(problems.contains(what), "{what}: {problems}");
    };
    let config = parse(&job("a", "oss://y/db/{year}/{date}/", "delete = true\nusage_depth = 2\n")).expect("valid");
    assert_eq!(config.jobs[0].usage_depth, 2);
    told(&job("a", "oss://y/{dat}/", ""), "jobs.a.destination: {dat} is no placeholder of a destination; did you mean 'date'?");
    told(&job("a", "oss://y-{date}/", ""), "{date} stands in the bucket's name");
    told(&job("a", "s3://x/copy-{date}/", ""), "overlaps the source");
    told(&(job("a", "oss://y/db/{date}/", "") + &job("b", "oss://y/db/2020/", "")), "write to the same place");
    told(&(job("a", "oss://y/{date}/", "") + &job("b", "oss://y/{week}/", "")), "write to the same place");
    told(&(job("a", "/backup/{date}/", "") + &job("b", "/backup", "")), "write to the same place");
    assert!(parse(&(job("a", "oss://y/db/{date}/", "") + &job("b", "oss://y/web/{date}/", ""))).is_ok());
    assert!(parse(&(job("a", "oss://y/db/{date}/", "") + &job("b", "oss://z/db/{date}/", ""))).is_ok());
    let alias = "[stores.hz]\ntype = \"oss\"\nregion = \"cn-hangzhou\"\n[stores.hz-2]\ntype = \"oss\"\nregion = \"cn-hangzhou\"\n";
    told(&(alias.to_owned() + &job("a", "hz://y/{date}/", "") + &job("b", "hz-2://y/db/", "")), "write to the same place");
    let events = "[[jobs.events]]\ntype = \"webhook\"\ntoken = \"t\"\n";
    told(&job("a", "oss://y/{date}/", events), "jobs.a.events: a change event has no date");
    told(&job("a", "oss://y/", "usage_depth = 4\n"), "4 is not from 0 to 3");
    told(&job("a", "oss://y/", "time_zone = \"Asia/Beijing2\"\n"), "there is no time zone 'Asia/Beijing2'");
}

#[test]
fn a_job_is_where_its_key_its_schedule_or_nobody_says() {
    let zone = |more: &str| {
        let text = format!("[[jobs]]\nname = \"a\"\nsource = \"s3://x\"\ndestination = \"oss://y/{{date}}/\"\n{more}");
        parse(&text).expect("valid").jobs[0].zone().iana_name().map(str::to_owned)
    };
    assert_eq!(zone(""), Some("UTC".to_owned()));
    assert_eq!(zone("schedule = \"every 1h\"\n"), Some("UTC".to_owned()));
    assert_eq!(zone("schedule = \"0 3 * * * Asia/Shanghai\"\n"), Some("Asia/Shanghai".to_owned()));
    assert_eq!(zone("schedule = \"0 3 * * * Asia/Shanghai\"\ntime_zone = \"Europe/Berlin\"\n"), Some("Europe/Berlin".to_owned()));
}
