//! What jobs used, as an operator bills it; and backups that have a place for each day.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{World, until};

fn row<'a>(usage: &'a Value, job: &str, prefix: &str) -> &'a Value {
    let rows = usage["rows"].as_array().expect("rows");
    rows.iter().find(|row| row["job"] == job && row["prefix"] == prefix).unwrap_or_else(|| panic!("a row of {job} '{prefix}' in {usage}"))
}

#[test]
fn usage_is_counted_by_job_and_folder_and_told_in_every_form() {
    let world = World::new();
    for bucket in ["us://photos", "cn://photos-cn", "us://team-a", "us://team-b", "cn://teams-team-a", "cn://teams-team-b"] {
        world.ok(&["mb", bucket]);
    }
    for (key, text) in [("red/1", "1234"), ("red/2", "12"), ("blue, \"x\"/sub/1", "1"), ("top", "123")] {
        world.put(&format!("us://photos/in/{key}"), text);
    }
    world.put("us://team-a/k", "1");
    world.put("us://team-b/k", "12");
    let config = "[daemon]\nlisten = \"127.0.0.1:0\"\ntoken = true\n\
         [[jobs]]\nname = \"photos\"\nsource = \"us://photos/in/\"\ndestination = \"cn://photos-cn/out/\"\ndelete = true\nmax_delete = 1\nusage_depth = 1\n\
         [[jobs.events]]\ntype = \"webhook\"\ntoken = \"hint\"\n\
         [[jobs]]\nname = \"teams\"\nsource = \"us://team-*\"\ndestination = \"cn://teams-{bucket}\"\nusage_depth = 1\n";
    world.configure(config);
    let daemon = world.start();
    world.ok(&["jobs", "run", "photos"]);
    world.ok(&["jobs", "run", "teams"]);
    until("both ran", 30, || world.job("photos")["state"] == "in-sync" && world.job("teams")["state"] == "in-sync");
    let asked = || serde_json::from_str::<Value>(&world.ok(&["usage", "--json"])).expect("JSON");
    let usage = asked();
    let red = row(&usage, "photos", "red/");
    assert_eq!((&red["objects_copied"], &red["bytes_copied"]), (&Value::from(2), &Value::from(6)), "{red}");
    assert!(red["requests_source_read"].as_u64() >= Some(2) && red["requests_destination_write"].as_u64() >= Some(2), "{red}");
    assert_eq!(row(&usage, "photos", "blue, \"x\"/")["objects_copied"], 1);
    let rest = row(&usage, "photos", "");
    assert!(rest["objects_copied"] == 1 && rest["requests_source_list"].as_u64() >= Some(1), "{rest}");
    // A job over many buckets: the bucket is the first segment, and each job counts its own.
    let team = row(&usage, "teams", "team-b/");
    assert_eq!((&team["objects_copied"], &team["bytes_copied"], &team["requests_destination_write"]), (&1.into(), &2.into(), &1.into()), "{team}");
    // What an event has copied counts as well, and what a scan deletes.
    world.put("us://photos/in/red/3", "123");
    let event = r#"{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"photos"},"object":{"key":"in/red/3","sequencer":"0A"}}}]}"#;
    assert_eq!(daemon.ask("POST", "/api/v1/hints/photos", &[("authorization", "Bearer hint")], event).status, 200);
    until("the event's object counts", 20, || row(&asked(), "photos", "red/")["objects_copied"] == 3);
    world.ok(&["rm", "us://photos/in/red/1"]);
    world.ok(&["jobs", "run", "photos"]);
    until("the delete counts", 30, || row(&asked(), "photos", "red/")["objects_deleted"] == 1);
    // The API, for whoever has the token.
    let bearer = daemon.bearer();
    let owner = ("authorization", bearer.as_str());
    let get = |path: &str, headers: &[(&str, &str)]| daemon.ask("GET", path, headers, "");
    assert_eq!(get("/api/v1/usage", &[]).status, 401);
    assert_eq!(get("/api/v1/usage.csv", &[]).status, 401);
    let month = asked()["month"].as_str().expect("a month").to_owned();
    let json = get(&format!("/api/v1/usage?month={month}"), &[owner]);
    assert_eq!((json.status, serde_json::from_str::<Value>(&json.body).expect("JSON")), (200, asked()));
    let csv = world.ok(&["usage", "--format", "csv", "--month", &month]);
    assert!(csv.starts_with("month,job,prefix,objects_copied,bytes_copied,objects_deleted,"), "{csv}");
    assert!(csv.contains(&format!("\r\n{month},photos,\"blue, \"\"x\"\"/\",1,1,0,")), "{csv}");
    for answer in [get("/api/v1/usage.csv", &[owner]), get("/api/v1/usage", &[owner, ("accept", "text/csv")])] {
        assert!(answer.status == 200 && answer.head.contains("content-type: text/csv") && answer.body == csv, "{}\n{}", answer.head, answer.body);
    }
    for (query, status) in [("?month=2026-13", 400), ("?month=", 400), ("?month=2020-01", 404), ("?moth=2026-11", 400), ("?month=2026-11&month=2026-10", 400)] {
        for path in ["/api/v1/usage", "/api/v1/usage.csv"] {
            let answer = get(&format!("{path}{query}"), &[owner]);
            assert!(answer.status == status && answer.body.contains("\"advice\""), "{path}{query}: {} {}", answer.status, answer.body);
        }
    }
    assert_eq!(daemon.ask("POST", "/api/v1/usage", &[owner], "").status, 405);
    // What is described is there.
    let document: Value = serde_json::from_str(&get("/api/v1/openapi.json", &[owner]).body).expect("JSON");
    for (path, methods) in document["paths"].as_object().expect("paths").iter().filter(|(path, _)| !path.contains('{')) {
        let method = if methods["get"].is_object() { "GET" } else { "POST" };
        assert!(!matches!(daemon.ask(method, path, &[owner], "").status, 404 | 405), "{method} {path}");
    }
    let metrics = get("/metrics", &[owner]).body;
    assert!(metrics.contains("dragon_job_usage_copied_objects_total{job=\"photos\"} 5\n"), "{metrics}");
    assert!(metrics.contains("dragon_job_usage_requests_total{job=\"teams\",end=\"destination\",kind=\"write\"} 2\n"), "{metrics}");
    assert!(!metrics.contains("red/"), "no prefixes");
    // It outlives the daemon, in a file for its owner alone.
    let before = asked();
    assert_eq!(daemon.end(), 0, "{}", world.log());
    let file = world.path("state/usage").join(format!("{month}.csv"));
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_to_string(&file).expect("there"), world.ok(&["usage", "--format", "csv"]));
    let text = world.ok(&["usage", "--state-dir", world.path("state").to_str().expect("UTF-8")]);
    assert!(text.contains("photos  red/") && text.contains("teams  team-a/"), "{text}");
    let output = world.run(&["usage", "--month", "2020-01"]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains(&format!("there are: {month}")), "{output:?}");
    let again = world.start();
    assert_eq!(asked(), before, "a month goes on");
    assert_eq!(again.end(), 0);
}

#[test]
fn a_backup_has_a_place_for_each_day() {
    let world = World::new();
    world.ok(&["mb", "us://data"]);
    world.ok(&["mb", "cn://backups"]);
    world.put("us://data/a", "a");
    // A zone in which it is tomorrow already, or still today: the same for long enough in any case.
    let job = |zone: &str| {
        format!("[[jobs]]\nname = \"db\"\nsource = \"us://data/\"\ndestination = \"cn://backups/{{year}}/{{date}}/\"\ndelete = true\ntime_zone = \"{zone}\"\n")
    };
    let today = |zone: &str| jiff::Timestamp::now().in_tz(zone).expect("a zone").date();
    let (east, west) = ("Pacific/Kiritimati", "Pacific/Pago_Pago");
    world.configure(&job(east));
    world.ok(&["config", "check"]);
    let day = today(east);
    let daemon = world.start();
    world.ok(&["jobs", "run", "db"]);
    until("it is in sync", 30, || world.job("db")["state"] == "in-sync");
    if today(east) != day {
        return;
    }
    let first = format!("{:04}/{day}/", day.year());
    assert_eq!(world.listing("cn://backups"), [format!("{first}a")]);
    let status = world.job("db");
    assert_eq!(
        (status["destination"].as_str(), status["dated_destination"].as_str()),
        (Some("cn://backups/{year}/{date}/"), Some(&*format!("cn://backups/{first}")))
    );
    assert_eq!(status["recent_runs"][0]["destination"], format!("cn://backups/{first}"));
    assert!(daemon.ask("GET", "/", &[], "").body.contains(&format!("cn://backups/{first}")));
    // Where it is another day, it is another place: the first one stays, whatever is deleted.
    world.ok(&["rm", "us://data/a"]);
    world.put("us://data/b", "b");
    let revision = world.status()["config"]["revision"].clone();
    world.configure(&job(west));
    until("the other zone is in force", 20, || world.status()["config"]["revision"] != revision);
    let day = today(west);
    let second = format!("{:04}/{day}/b", day.year());
    world.ok(&["jobs", "run", "db"]);
    until("the other day has its own", 30, || world.listing("cn://backups").contains(&second));
    assert!(world.listing("cn://backups").contains(&format!("{first}a")));
    world.configure(&job(west).replace("{date}", "{day}"));
    let told = world.run(&["config", "check"]);
    let words = String::from_utf8_lossy(&[told.stdout.as_slice(), &told.stderr].concat()).into_owned();
    assert!(!told.status.success() && words.contains("{day} is no placeholder of a destination"), "{words}");
    assert_eq!(daemon.end(), 0, "{}", world.log());
}
