"""boto3 against an S3 side whose days are short: ENDPOINT KEY_ID SECRET DAY_SECONDS as arguments. Fails at the first surprise."""
import datetime
import sys
import time

import boto3
from botocore.exceptions import ClientError

endpoint, key_id, secret, day_seconds = sys.argv[1:5]
DAY = float(day_seconds)
LARGE = b"x" * (128 << 10)


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, (code, error.response["Error"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        return error.response
    raise AssertionError(f"{code} was expected")


def within(days, seen):
    """Waits until something is seen, for so many days and a little."""
    end = time.monotonic() + (days + 1) * DAY + 3
    while not seen():
        assert time.monotonic() < end, f"not within {days} days"
        time.sleep(0.2)


def put_rules(s3, *rules, **options):
    rules = [{"Status": "Enabled", **rule} for rule in rules]
    s3.put_bucket_lifecycle_configuration(Bucket="age", LifecycleConfiguration={"Rules": rules}, **options)
    return rules


def rules(s3):
    refused("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration, Bucket="age")
    midnight = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
    sent = put_rules(
        s3,
        {"ID": "all", "Filter": {"And": {"Prefix": "a&b/", "Tags": [{"Key": "k", "Value": "v"}], "ObjectSizeGreaterThan": 5}},
         "Transitions": [{"Days": 30, "StorageClass": "STANDARD_IA"}, {"Days": 90, "StorageClass": "GLACIER"}], "Expiration": {"Days": 400}},
        {"ID": "date", "Filter": {"Tag": {"Key": "t", "Value": ""}}, "Transitions": [{"Date": midnight, "StorageClass": "DEEP_ARCHIVE"}]},
        {"ID": "old", "Prefix": "", "Expiration": {"ExpiredObjectDeleteMarker": True}, "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 2},
         "NoncurrentVersionTransitions": [{"NoncurrentDays": 1, "StorageClass": "GLACIER"}], "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}},
        {"ID": "off", "Status": "Disabled", "Filter": {"ObjectSizeLessThan": 100}, "Expiration": {"Days": 1}},
    )
    told = s3.get_bucket_lifecycle_configuration(Bucket="age")
    assert told["Rules"] == sent, told["Rules"]
    assert told["TransitionDefaultMinimumObjectSize"] == "all_storage_classes_128K", told
    put_rules(s3, {"Filter": {"Prefix": "x"}, "Expiration": {"Days": 1}})
    assert s3.get_bucket_lifecycle_configuration(Bucket="age")["Rules"][0]["ID"], "the service names rules"
    rule = {"ID": "r", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
    for code, bad in [
        ("MalformedXML", [{**rule, "ID": str(number)} for number in range(1001)]),
        ("MalformedXML", [{**rule, "Status": "On"}]),
        ("MalformedXML", [{**rule, "Prefix": "both"}]),
        ("InvalidArgument", [rule, rule]),
        ("InvalidArgument", [{**rule, "Expiration": {"Days": 0}}]),
        ("InvalidRequest", [{"ID": "r", "Filter": {"Prefix": ""}}]),
        ("InvalidArgument", [{**rule, "Transitions": [{"Days": 29, "StorageClass": "STANDARD_IA"}], "Expiration": {"Days": 90}}]),
        ("InvalidArgument", [{**rule, "Transitions": [{"Days": 5, "StorageClass": "GLACIER"}], "Expiration": {"Days": 5}}]),
    ]:
        refused(code, lambda: put_rules(s3, *bad))
    s3.delete_bucket_lifecycle(Bucket="age")
    refused("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration, Bucket="age")


def ageing(s3):
    s3.put_object(Bucket="age", Key="cold/large", Body=LARGE)
    s3.put_object(Bucket="age", Key="cold/small", Body=b"small")
    s3.put_object(Bucket="age", Key="temp/x", Body=b"x", Tagging="temp=yes")
    s3.put_object(Bucket="age", Key="temp/kept", Body=b"x")
    s3.create_multipart_upload(Bucket="age", Key="temp/upload")
    before = s3.head_object(Bucket="age", Key="cold/large")
    put_rules(s3, {"ID": "cold", "Filter": {"Prefix": "cold/"}, "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]},
              {"ID": "temp", "Filter": {"Tag": {"Key": "temp", "Value": "yes"}}, "Expiration": {"Days": 1}},
              {"ID": "uploads", "Filter": {"Prefix": "temp/"}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}})
    within(2, lambda: s3.head_object(Bucket="age", Key="cold/large").get("StorageClass") == "GLACIER")
    after = s3.head_object(Bucket="age", Key="cold/large")
    assert (after["LastModified"], after["ETag"]) == (before["LastModified"], before["ETag"])
    classes = {entry["Key"]: entry["StorageClass"] for entry in s3.list_objects_v2(Bucket="age", Prefix="cold/")["Contents"]}
    assert classes == {"cold/large": "GLACIER", "cold/small": "STANDARD"}, classes
    refused("InvalidObjectState", s3.get_object, Bucket="age", Key="cold/large")
    within(2, lambda: s3.list_objects_v2(Bucket="age", Prefix="temp/")["KeyCount"] == 1)
    within(2, lambda: "Uploads" not in s3.list_multipart_uploads(Bucket="age"))
    put_rules(s3, {"ID": "cold", "Filter": {"Prefix": "cold/"}, "Transitions": [{"Days": 0, "StorageClass": "GLACIER"}]},
              TransitionDefaultMinimumObjectSize="varies_by_storage_class")
    within(2, lambda: s3.head_object(Bucket="age", Key="cold/small").get("StorageClass") == "GLACIER")


def restoring(s3):
    s3.restore_object(Bucket="age", Key="cold/large", RestoreRequest={"Days": 2, "GlacierJobParameters": {"Tier": "Standard"}})
    assert s3.head_object(Bucket="age", Key="cold/large")["Restore"] == 'ongoing-request="true"'
    within(2, lambda: 'ongoing-request="false"' in s3.head_object(Bucket="age", Key="cold/large")["Restore"])
    assert s3.get_object(Bucket="age", Key="cold/large")["Body"].read() == LARGE
    within(4, lambda: "Restore" not in s3.head_object(Bucket="age", Key="cold/large"))
    refused("InvalidObjectState", s3.get_object, Bucket="age", Key="cold/large")


def main():
    s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key_id, aws_secret_access_key=secret, region_name="us-east-1")
    s3.create_bucket(Bucket="age")
    for step in [rules, ageing, restoring]:
        step(s3)
        print("ok", step.__name__)


main()
