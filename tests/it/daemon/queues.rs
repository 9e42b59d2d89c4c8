//! Change events through a queue that others wrote: moto's S3 tells moto's SQS of every object, and the daemon follows.

use std::process::Command;

use super::{World, until};
use crate::foreign::{enabled, python_venv, run, server};

const SCRIPT: &str = r#"
import json, sys, boto3
endpoint, what = sys.argv[1:3]
session = boto3.session.Session(aws_access_key_id="dragon", aws_secret_access_key="dragon-secret", region_name="us-east-1")
s3, sqs = session.client("s3", endpoint_url=endpoint), session.client("sqs", endpoint_url=endpoint)
if what == "make":
    s3.create_bucket(Bucket="photos")
    url = sqs.create_queue(QueueName="photos-events", Attributes={"VisibilityTimeout": "5"})["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    s3.put_bucket_notification_configuration(Bucket="photos", NotificationConfiguration={
        "QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]})
    print(url)
elif what == "put":
    s3.put_object(Bucket="photos", Key=sys.argv[3], Body=b"picture")
elif what == "left":
    url = sqs.get_queue_url(QueueName="photos-events")["QueueUrl"]
    got = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"])["Attributes"]
    print(sum(int(n) for n in got.values()))
"#;

#[test]
fn an_object_put_into_a_bucket_comes_by_way_of_its_queue() {
    if !enabled("change events through moto's SQS") {
        return;
    }
    let moto = server::moto();
    let python = python_venv(&["moto"]).join("python");
    let ask = |arguments: &[&str]| run(Command::new(&python).args(["-c", SCRIPT, &moto.url]).args(arguments)).trim().to_owned();
    let url = ask(&["make"]);
    let world = World::new();
    world.ok(&["mb", "cn://photos-cn"]);
    world.configure(&format!(
        "[stores.moto]\ntype = \"s3\"\nendpoint = \"{}\"\nregion = \"us-east-1\"\naccess_key_id = \"dragon\"\nsecret_access_key = \"file:secret\"\n\
         [[jobs]]\nname = \"photos\"\nsource = \"moto://photos/\"\ndestination = \"cn://photos-cn/\"\nschedule = \"every 24h\"\n[[jobs.events]]\ntype = \"sqs\"\nqueue = \"{url}\"\n",
        moto.url
    ));
    let daemon = world.start_with(&[("AWS_ENDPOINT_URL_SQS", moto.url.as_str())]);
    world.ok(&["jobs", "run", "photos"]);
    until("the first run ends", 60, || world.job("photos")["state"] == "in-sync");
    for key in ["a.jpg", "with space+plus.jpg", "中文/文件.jpg"] {
        ask(&["put", key]);
    }
    until("all three come by their events", 60, || world.listing("cn://photos-cn").len() == 3);
    let mut there = world.listing("cn://photos-cn");
    there.sort();
    assert_eq!(there, ["a.jpg", "with space+plus.jpg", "中文/文件.jpg"]);
    until("their messages are acknowledged", 30, || ask(&["left"]) == "0");
    assert_eq!(world.job("photos")["recent_runs"].as_array().map(Vec::len), Some(1), "no scan was needed");
    assert_eq!(daemon.end(), 0, "{}", world.log());
}
