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


def versions(s3):
    s3.create_bucket(Bucket="versions")
    assert "Status" not in s3.get_bucket_versioning(Bucket="versions")
    assert "VersionId" not in s3.put_object(Bucket="versions", Key="k", Body=b"zero")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    assert s3.get_bucket_versioning(Bucket="versions")["Status"] == "Enabled"
    assert s3.head_object(Bucket="versions", Key="k")["VersionId"] == "null"
    one = s3.put_object(Bucket="versions", Key="k", Body=b"one")["VersionId"]
    two = s3.copy_object(Bucket="versions", Key="k", CopySource={"Bucket": "versions", "Key": "k", "VersionId": one})
    assert two["CopySourceVersionId"] == one and two["VersionId"] not in (one, "null")
    upload = s3.create_multipart_upload(Bucket="versions", Key="k")["UploadId"]
    part = s3.upload_part(Bucket="versions", Key="k", UploadId=upload, PartNumber=1, Body=b"parts")
    three = s3.complete_multipart_upload(Bucket="versions", Key="k", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})["VersionId"]
    read = lambda version: s3.get_object(Bucket="versions", Key="k", VersionId=version)["Body"].read()
    assert [read(version) for version in ("null", one, two["VersionId"], three)] == [b"zero", b"one", b"one", b"parts"]
    refused("NoSuchVersion", s3.get_object, Bucket="versions", Key="k", VersionId="none")
    tags = [{"Key": "a", "Value": "1"}]
    assert s3.put_object_tagging(Bucket="versions", Key="k", VersionId=one, Tagging={"TagSet": tags})["VersionId"] == one
    assert s3.get_object_tagging(Bucket="versions", Key="k", VersionId=one)["TagSet"] == tags and not s3.get_object_tagging(Bucket="versions", Key="k")["TagSet"]
    gone = s3.delete_object(Bucket="versions", Key="k")
    assert gone["DeleteMarker"] is True
    headers = refused("NoSuchKey", s3.get_object, Bucket="versions", Key="k")["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-amz-delete-marker"] == "true" and headers["x-amz-version-id"] == gone["VersionId"]
    refused("404", s3.head_object, Bucket="versions", Key="k")
    refused("405", s3.head_object, Bucket="versions", Key="k", VersionId=gone["VersionId"])
    refused("MethodNotAllowed", s3.get_object, Bucket="versions", Key="k", VersionId=gone["VersionId"])
    s3.put_object(Bucket="versions", Key="odd key&", Body=b"x")
    listed = s3.list_object_versions(Bucket="versions")
    assert [(entry["VersionId"], entry["IsLatest"]) for entry in listed["Versions"][:4]] == [(three, False), (two["VersionId"], False), (one, False), ("null", False)]
    assert [(entry["VersionId"], entry["IsLatest"]) for entry in listed["DeleteMarkers"]] == [(gone["VersionId"], True)]
    pages = list(s3.get_paginator("list_object_versions").paginate(Bucket="versions", PaginationConfig={"PageSize": 2}))
    found = [(entry["Key"], entry["VersionId"]) for page in pages for entry in page.get("Versions", []) + page.get("DeleteMarkers", [])]
    assert len(pages) == 3 and len(found) == 6 == len(set(found)), found
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="versions")["Contents"]] == ["odd key&"]
    refused("BucketNotEmpty", s3.delete_bucket, Bucket="versions")
    batch = s3.delete_objects(Bucket="versions", Delete={"Objects": [{"Key": "k", "VersionId": gone["VersionId"]}, {"Key": "odd key&"}, {"Key": "k", "VersionId": two["VersionId"]}]})["Deleted"]
    assert batch[0]["DeleteMarker"] and batch[0]["DeleteMarkerVersionId"] == batch[0]["VersionId"] == gone["VersionId"]
    assert batch[1]["DeleteMarker"] and batch[1]["DeleteMarkerVersionId"] and "VersionId" not in batch[1] and "DeleteMarker" not in batch[2]
    assert s3.get_object(Bucket="versions", Key="k")["Body"].read() == b"parts"
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Suspended"})
    assert s3.put_object(Bucket="versions", Key="k", Body=b"null")["VersionId"] == "null" and read("null") == b"null"
    s3.put_bucket_lifecycle_configuration(Bucket="versions", LifecycleConfiguration={"Rules": [{
        "ID": "former", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"ExpiredObjectDeleteMarker": True},
        "NoncurrentVersionTransitions": [{"NoncurrentDays": 1, "StorageClass": "GLACIER"}], "NoncurrentVersionExpiration": {"NoncurrentDays": 3, "NewerNoncurrentVersions": 1}}]})
    within(5, lambda: len(s3.list_object_versions(Bucket="versions", Prefix="k")["Versions"]) == 2)
    s3.put_bucket_lifecycle_configuration(Bucket="versions", LifecycleConfiguration={"Rules": [{
        "ID": "former", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"ExpiredObjectDeleteMarker": True}, "NoncurrentVersionExpiration": {"NoncurrentDays": 1}}]})
    within(3, lambda: len(s3.list_object_versions(Bucket="versions")["Versions"]) == 1)
    within(2, lambda: "DeleteMarkers" not in s3.list_object_versions(Bucket="versions"))
    s3.delete_object(Bucket="versions", Key="k", VersionId="null")
    s3.delete_bucket(Bucket="versions")


def main():
    s3 = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key_id, aws_secret_access_key=secret, region_name="us-east-1")
    s3.create_bucket(Bucket="age")
    for step in [rules, ageing, restoring, versions]:
        step(s3)
        print("ok", step.__name__)


main()
