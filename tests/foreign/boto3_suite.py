"""boto3, unchanged, against the dev server's S3 side: ENDPOINT KEY_ID SECRET as arguments. Fails at the first surprise."""
import hashlib
import io
import sys
import urllib.error
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

endpoint, key_id, secret = sys.argv[1:4]
ODD_KEYS = ["a b+c%d", "a//b", "a/../b", "/lead", "trail/", "中文/文件.txt", "emoji-🐉", "per%20cent", "quote'\"&<>", "tab\tnew\nline", "~tilde.-_*!()"]


def client(**options):
    return boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key_id, aws_secret_access_key=secret, region_name="us-east-1", config=Config(**options))


def refused(code, call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, (code, error.response["Error"], error.response["ResponseMetadata"]["HTTPStatusCode"])
        return error.response
    raise AssertionError(f"{code} was expected")


def read(answer):
    return answer["Body"].read()


def buckets(s3):
    s3.create_bucket(Bucket="boto")
    refused("BucketAlreadyOwnedByYou", s3.create_bucket, Bucket="boto")
    assert "boto" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    assert s3.head_bucket(Bucket="boto")["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket="boto")["LocationConstraint"] is None
    assert "Status" not in s3.get_bucket_versioning(Bucket="boto")
    refused("404", s3.head_bucket, Bucket="nowhere")
    refused("NoSuchBucket", s3.list_objects_v2, Bucket="nowhere")


def objects(s3):
    body = bytes(range(256)) * 40
    put = s3.put_object(Bucket="boto", Key="plain", Body=body, ContentType="text/x-dragon", CacheControl="max-age=7", ContentEncoding="br",
                        Metadata={"mtime": "1.5", "Mixed-Case": "x"}, Tagging="a=1&b=two%20words", StorageClass="STANDARD_IA")
    assert put["ETag"] == '"%s"' % hashlib.md5(body).hexdigest(), put
    assert put["ChecksumCRC32"] and put["ChecksumType"] == "FULL_OBJECT", put
    head = s3.head_object(Bucket="boto", Key="plain", ChecksumMode="ENABLED")
    assert head["ContentLength"] == len(body) and head["ContentType"] == "text/x-dragon" and head["CacheControl"] == "max-age=7"
    assert head["ContentEncoding"] == "br" and head["Metadata"] == {"mtime": "1.5", "mixed-case": "x"} and head["StorageClass"] == "STANDARD_IA"
    assert head["ChecksumCRC32"] == put["ChecksumCRC32"]
    assert read(s3.get_object(Bucket="boto", Key="plain")) == body
    part = s3.get_object(Bucket="boto", Key="plain", Range="bytes=10-19")
    assert part["ContentRange"] == f"bytes 10-19/{len(body)}" and read(part) == body[10:20] and part["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert read(s3.get_object(Bucket="boto", Key="plain", Range="bytes=-5")) == body[-5:]
    assert read(s3.get_object(Bucket="boto", Key="plain", Range="bytes=10230-99999")) == body[10230:]
    refused("InvalidRange", s3.get_object, Bucket="boto", Key="plain", Range="bytes=10240-")
    shown = s3.get_object(Bucket="boto", Key="plain", ResponseContentType="text/other")
    assert shown["ContentType"] == "text/other" and shown["CacheControl"] == "max-age=7"
    refused("NoSuchKey", s3.get_object, Bucket="boto", Key="gone")
    refused("404", s3.head_object, Bucket="boto", Key="gone")
    s3.put_object(Bucket="boto", Key="empty", Body=b"")
    assert read(s3.get_object(Bucket="boto", Key="empty")) == b""
    for algorithm in ["CRC32", "CRC32C", "SHA1", "SHA256", "CRC64NVME"]:
        put = s3.put_object(Bucket="boto", Key="summed", Body=body, ChecksumAlgorithm=algorithm)
        name = "Checksum" + algorithm
        assert s3.head_object(Bucket="boto", Key="summed", ChecksumMode="ENABLED")[name] == put[name]
    refused("BadDigest", s3.put_object, Bucket="boto", Key="bad", Body=b"x", ChecksumCRC32="AAAAAA==")
    refused("BadDigest", s3.put_object, Bucket="boto", Key="bad", Body=b"x", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
    refused("NoSuchKey", s3.get_object, Bucket="boto", Key="bad")


def conditions(s3):
    etag = s3.put_object(Bucket="boto", Key="cas", Body=b"1", IfNoneMatch="*")["ETag"]
    refused("PreconditionFailed", s3.put_object, Bucket="boto", Key="cas", Body=b"2", IfNoneMatch="*")
    refused("PreconditionFailed", s3.put_object, Bucket="boto", Key="cas", Body=b"2", IfMatch='"0"')
    refused("NoSuchKey", s3.put_object, Bucket="boto", Key="cas-none", Body=b"2", IfMatch=etag)
    newer = s3.put_object(Bucket="boto", Key="cas", Body=b"2", IfMatch=etag)["ETag"]
    refused("PreconditionFailed", s3.get_object, Bucket="boto", Key="cas", IfMatch=etag)
    refused("304", s3.get_object, Bucket="boto", Key="cas", IfNoneMatch=newer)
    modified = s3.head_object(Bucket="boto", Key="cas")["LastModified"]
    refused("304", s3.head_object, Bucket="boto", Key="cas", IfModifiedSince=modified)
    assert read(s3.get_object(Bucket="boto", Key="cas", IfUnmodifiedSince=modified)) == b"2"


def listings(s3):
    s3.create_bucket(Bucket="boto-list")
    keys = sorted(ODD_KEYS + [f"p/{i:03}" for i in range(25)], key=lambda key: key.encode())
    for key in keys:
        s3.put_object(Bucket="boto-list", Key=key, Body=key.encode())
        assert read(s3.get_object(Bucket="boto-list", Key=key)) == key.encode(), key
    for size in [1000, 7, 1]:
        for call, options in [("list_objects_v2", {}), ("list_objects", {}), ("list_object_versions", {})]:
            pages = s3.get_paginator(call).paginate(Bucket="boto-list", PaginationConfig={"PageSize": size}, **options)
            listed = [item["Key"] for page in pages for item in page.get("Contents", page.get("Versions", []))]
            assert listed == keys, (call, size, listed)
    folded = [(prefix["Prefix"]) for page in s3.get_paginator("list_objects_v2").paginate(Bucket="boto-list", Delimiter="/", PaginationConfig={"PageSize": 3})
              for prefix in page.get("CommonPrefixes", [])]
    assert folded == ["/", "a/", "p/", "trail/", "中文/"], folded
    under = s3.list_objects_v2(Bucket="boto-list", Prefix="p/", StartAfter="p/003", MaxKeys=2)
    assert [item["Key"] for item in under["Contents"]] == ["p/004", "p/005"] and under["IsTruncated"] and under["KeyCount"] == 2
    assert not s3.list_objects_v2(Bucket="boto-list", MaxKeys=0)["IsTruncated"]
    refused("BucketNotEmpty", s3.delete_bucket, Bucket="boto-list")
    # Control characters cannot stand in DeleteObjects' XML as botocore writes it.
    for key in ["tab\tnew\nline"]:
        s3.delete_object(Bucket="boto-list", Key=key)
    many = s3.delete_objects(Bucket="boto-list", Delete={"Objects": [{"Key": key} for key in keys if "\n" not in key] + [{"Key": "never was"}]})
    assert len(many["Deleted"]) == len(keys) and "Errors" not in many, many
    assert s3.list_objects_v2(Bucket="boto-list")["KeyCount"] == 0
    s3.delete_bucket(Bucket="boto-list")


def copies(s3):
    for number, key in enumerate(ODD_KEYS):
        s3.put_object(Bucket="boto", Key=key, Body=key.encode(), Metadata={"n": str(number)}, Tagging="t=1")
        copied = s3.copy_object(Bucket="boto", Key=f"copy/{number}", CopySource={"Bucket": "boto", "Key": key})
        assert copied["CopyObjectResult"]["ETag"] == '"%s"' % hashlib.md5(key.encode()).hexdigest()
        got = s3.get_object(Bucket="boto", Key=f"copy/{number}")
        assert read(got) == key.encode() and got["Metadata"] == {"n": str(number)} and got["TagCount"] == 1, key
    s3.copy_object(Bucket="boto", Key="copy/0", CopySource={"Bucket": "boto", "Key": "copy/0"}, MetadataDirective="REPLACE", Metadata={"new": "1"})
    assert s3.head_object(Bucket="boto", Key="copy/0")["Metadata"] == {"new": "1"}
    refused("InvalidRequest", s3.copy_object, Bucket="boto", Key="copy/0", CopySource={"Bucket": "boto", "Key": "copy/0"})
    refused("PreconditionFailed", s3.copy_object, Bucket="boto", Key="c", CopySource={"Bucket": "boto", "Key": "copy/0"}, CopySourceIfMatch="0")
    refused("NoSuchKey", s3.copy_object, Bucket="boto", Key="c", CopySource={"Bucket": "boto", "Key": "gone"})


def multipart(s3):
    first, second = b"1" * (5 << 20), b"2" * 1000
    upload = s3.create_multipart_upload(Bucket="boto", Key="big", ContentType="x/y", Metadata={"m": "1"})["UploadId"]
    where = {"Bucket": "boto", "Key": "big", "UploadId": upload}
    etags = [s3.upload_part(PartNumber=number, Body=body, **where)["ETag"] for number, body in [(1, first), (2, second)]]
    assert [upload["Key"] for upload in s3.list_multipart_uploads(Bucket="boto")["Uploads"]] == ["big"]
    parts = s3.list_parts(MaxParts=1, **where)
    assert parts["IsTruncated"] and parts["Parts"][0]["Size"] == len(first) and parts["Parts"][0]["ETag"] == etags[0]
    listed = [{"PartNumber": number, "ETag": etag} for number, etag in zip([1, 2], etags)]
    refused("InvalidPart", s3.complete_multipart_upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": '"0"'}]}, **where)
    refused("InvalidPartOrder", s3.complete_multipart_upload, MultipartUpload={"Parts": listed[::-1]}, **where)
    done = s3.complete_multipart_upload(MultipartUpload={"Parts": listed}, **where)
    md5s = hashlib.md5(first).digest() + hashlib.md5(second).digest()
    assert done["ETag"] == '"%s-2"' % hashlib.md5(md5s).hexdigest()
    refused("NoSuchUpload", s3.list_parts, **where)
    got = s3.get_object(Bucket="boto", Key="big")
    assert read(got) == first + second and got["Metadata"] == {"m": "1"} and got["ContentType"] == "x/y"
    part = s3.get_object(Bucket="boto", Key="big", PartNumber=2)
    assert read(part) == second and part["PartsCount"] == 2 and part["ContentRange"] == f"bytes {len(first)}-{len(first) + 999}/{len(first) + 1000}"
    about = s3.get_object_attributes(Bucket="boto", Key="big", ObjectAttributes=["ETag", "ObjectParts", "ObjectSize", "Checksum", "StorageClass"])
    assert about["ObjectParts"]["TotalPartsCount"] == 2 and about["ObjectSize"] == len(first) + 1000 and about["ETag"].strip('"') == done["ETag"].strip('"'), about

    small = s3.create_multipart_upload(Bucket="boto", Key="small")["UploadId"]
    where = {"Bucket": "boto", "Key": "small", "UploadId": small}
    etags = [s3.upload_part(PartNumber=number, Body=b"x", **where)["ETag"] for number in [1, 2]]
    listed = [{"PartNumber": number, "ETag": etag} for number, etag in zip([1, 2], etags)]
    refused("EntityTooSmall", s3.complete_multipart_upload, MultipartUpload={"Parts": listed}, **where)
    s3.abort_multipart_upload(**where)
    refused("NoSuchUpload", s3.abort_multipart_upload, **where)

    copied = s3.create_multipart_upload(Bucket="boto", Key="big-copy")["UploadId"]
    where = {"Bucket": "boto", "Key": "big-copy", "UploadId": copied}
    source = {"Bucket": "boto", "Key": "big"}
    parts = [s3.upload_part_copy(PartNumber=number, CopySource=source, CopySourceRange=span, **where)["CopyPartResult"]["ETag"]
             for number, span in [(1, f"bytes=0-{len(first) - 1}"), (2, f"bytes={len(first)}-{len(first) + 999}")]]
    s3.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": n, "ETag": e} for n, e in zip([1, 2], parts)]}, **where)
    assert read(s3.get_object(Bucket="boto", Key="big-copy")) == first + second
    assert s3.head_object(Bucket="boto", Key="big-copy")["ETag"] == done["ETag"]


def transfer(s3):
    body = b"dragon" * (3 << 20)
    config = TransferConfig(multipart_threshold=6 << 20, multipart_chunksize=6 << 20)
    s3.upload_fileobj(io.BytesIO(body), "boto", "managed", Config=config)
    assert s3.head_object(Bucket="boto", Key="managed")["ETag"].endswith('-3"')
    back = io.BytesIO()
    s3.download_fileobj("boto", "managed", back, Config=config)
    assert back.getvalue() == body


def attributes(s3):
    s3.put_object_tagging(Bucket="boto", Key="plain", Tagging={"TagSet": [{"Key": "k", "Value": "v w"}]})
    assert s3.get_object_tagging(Bucket="boto", Key="plain")["TagSet"] == [{"Key": "k", "Value": "v w"}]
    s3.delete_object_tagging(Bucket="boto", Key="plain")
    assert s3.get_object_tagging(Bucket="boto", Key="plain")["TagSet"] == []
    s3.put_object_acl(Bucket="boto", Key="plain", ACL="public-read")
    grants = s3.get_object_acl(Bucket="boto", Key="plain")["Grants"]
    assert [grant["Permission"] for grant in grants] == ["FULL_CONTROL", "READ"], grants
    s3.put_object(Bucket="boto", Key="frozen", Body=b"ice", StorageClass="DEEP_ARCHIVE")
    refused("InvalidObjectState", s3.get_object, Bucket="boto", Key="frozen")
    refused("InvalidStorageClass", s3.put_object, Bucket="boto", Key="x", Body=b"", StorageClass="LUKEWARM")


def links(_):
    s3 = client(signature_version="s3v4")  # boto3 signs links the old way otherwise
    for key in ["plain"] + ODD_KEYS:
        expected = read(s3.get_object(Bucket="boto", Key=key))
        url = s3.generate_presigned_url("get_object", Params={"Bucket": "boto", "Key": key}, ExpiresIn=60)
        assert urllib.request.urlopen(url).read() == expected, url
    url = s3.generate_presigned_url("put_object", Params={"Bucket": "boto", "Key": "put by link"}, ExpiresIn=60)
    urllib.request.urlopen(urllib.request.Request(url, data=b"linked", method="PUT"))
    assert read(s3.get_object(Bucket="boto", Key="put by link")) == b"linked"
    try:
        urllib.request.urlopen(url.replace("put%20by%20link", "another"))
        raise AssertionError("a link for one key opened another")
    except urllib.error.HTTPError as error:
        assert error.code == 403, error


def strangers():
    wrong = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key_id, aws_secret_access_key="wrong", region_name="us-east-1")
    refused("SignatureDoesNotMatch", wrong.list_buckets)
    unknown = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id="unknown", aws_secret_access_key=secret, region_name="us-east-1")
    refused("InvalidAccessKeyId", unknown.list_buckets)
    elsewhere = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key_id, aws_secret_access_key=secret, region_name="eu-west-1",
                             config=Config(s3={"addressing_style": "path"}))
    answer = refused("AuthorizationHeaderMalformed", elsewhere.list_buckets)
    assert answer["Error"]["Region"] == "us-east-1", answer


def main():
    s3 = client()
    buckets(s3)
    for step in [objects, conditions, listings, copies, multipart, transfer, attributes, links]:
        step(s3)
        print("ok", step.__name__)
    strangers()
    # The older way of sending bodies: no trailing checksum, the payload's own hash signed.
    plain = client(request_checksum_calculation="when_required", s3={"payload_signing_enabled": True})
    plain.put_object(Bucket="boto", Key="signed", Body=b"signed payload")
    assert read(plain.get_object(Bucket="boto", Key="signed")) == b"signed payload"
    print("all well")


main()
