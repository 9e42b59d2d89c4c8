"""alibabacloud-oss-v2 (Alibaba's Python SDK, second generation; V4 only) against the dev server.

usage: oss_v2_suite.py suite             the SDK's calls, each checked
       oss_v2_suite.py write|read FILE   put, or check, the objects of a manifest in its bucket

The server is named by DRAGON_OSS_ENDPOINT, DRAGON_OSS_KEY_ID and DRAGON_OSS_KEY_SECRET. The SDK checks CRC-64 itself.
"""
import datetime
import io
import json
import os
import sys
import tempfile
import urllib.request
from email.header import Header, decode_header, make_header

import alibabacloud_oss_v2 as oss

BUCKET = 'oss-v2'
# Without 'a/../c': the SDK's HTTP library rewrites such a path, so that no server could find its signature right.
ODD_KEYS = ['a b+c%2F&=?#', "quotes'\"<>", 'a//b', '中文/文件.txt', '🐉', 'x' * 1023]


def body(size):
    return bytes((i * 7 + size) % 251 for i in range(size))


def decoded(value):
    """Metadata beyond ASCII: Dragon sends RFC 2047 words, others the bare bytes, which Python shows as Latin-1."""
    if value.startswith('=?'):
        return str(make_header(decode_header(value)))
    return value.encode('latin-1').decode()


def open_client():
    config = oss.config.load_default()
    config.credentials_provider = oss.credentials.StaticCredentialsProvider(os.environ['DRAGON_OSS_KEY_ID'], os.environ['DRAGON_OSS_KEY_SECRET'])
    config.region = 'cn-hangzhou'
    config.endpoint = os.environ['DRAGON_OSS_ENDPOINT']
    return oss.Client(config)


def refused(call, code):
    try:
        call()
    except oss.exceptions.OperationError as error:
        service = error.unwrap()
        assert service.code == code, (service.code, code)
        assert len(service.request_id) == 24
        return service
    raise AssertionError(f'{code} was expected')


def get(client, key, **more):
    return client.get_object(oss.GetObjectRequest(bucket=BUCKET, key=key, **more))


def put(client, key, data, **more):
    return client.put_object(oss.PutObjectRequest(bucket=BUCKET, key=key, body=data, **more))


def buckets(client):
    client.put_bucket(oss.PutBucketRequest(bucket=BUCKET))
    assert client.is_bucket_exist(BUCKET) and not client.is_bucket_exist('absent-bucket')
    names = [bucket.name for page in client.list_buckets_paginator().iter_page(oss.ListBucketsRequest(prefix=BUCKET)) for bucket in page.buckets]
    assert BUCKET in names, names
    info = client.get_bucket_info(oss.GetBucketInfoRequest(bucket=BUCKET)).bucket_info
    assert (info.name, info.acl, info.storage_class) == (BUCKET, 'private', 'Standard')
    assert client.get_bucket_location(oss.GetBucketLocationRequest(bucket=BUCKET)).location == 'oss-cn-hangzhou'
    client.put_bucket_acl(oss.PutBucketAclRequest(bucket=BUCKET, acl='public-read'))
    assert client.get_bucket_acl(oss.GetBucketAclRequest(bucket=BUCKET)).acl == 'public-read'
    assert client.get_bucket_versioning(oss.GetBucketVersioningRequest(bucket=BUCKET)).version_status is None
    refused(lambda: client.get_bucket_lifecycle(oss.GetBucketLifecycleRequest(bucket=BUCKET)), 'NoSuchLifecycle')


def objects(client):
    for key in ODD_KEYS:
        answer = put(client, key, body(1000))
        assert answer.hash_crc64 and answer.etag == answer.etag.upper()
        got = get(client, key)
        assert got.body.content == body(1000) and got.hash_crc64 == answer.hash_crc64
    put(client, 'stream', io.BytesIO(body(3 << 20)))
    assert get(client, 'stream').body.content == body(3 << 20)
    assert client.is_object_exist(BUCKET, 'stream') and not client.is_object_exist(BUCKET, 'absent')
    assert refused(lambda: get(client, 'absent'), 'NoSuchKey').ec == '0026-00000001'
    head = refused(lambda: client.head_object(oss.HeadObjectRequest(bucket=BUCKET, key='absent')), 'NoSuchKey')
    assert (head.status_code, head.ec) == (404, '0026-00000001')
    refused(lambda: put(client, 'stream', b'', forbid_overwrite=True), 'FileAlreadyExists')
    refused(lambda: put(client, '/rooted', b''), 'InvalidObjectName')
    refused(lambda: put(client, 'digest', b'x', content_md5='1B2M2Y8AsgTpgAmY7PhCfg=='), 'InvalidDigest')


def attributes(client):
    put(client, 'attributes', b'x', content_type='text/x-test', cache_control='no-cache', metadata={'author': 'wang'}, storage_class='IA', tagging='a=1&b=2')
    head = client.head_object(oss.HeadObjectRequest(bucket=BUCKET, key='attributes'))
    assert (head.content_type, head.cache_control, head.metadata, head.storage_class) == ('text/x-test', 'no-cache', {'author': 'wang'}, 'IA')
    assert (head.content_length, head.object_type, head.tagging_count) == (1, 'Normal', 2)
    meta = client.get_object_meta(oss.GetObjectMetaRequest(bucket=BUCKET, key='attributes'))
    assert (meta.content_length, meta.etag) == (1, head.etag)
    client.put_object_acl(oss.PutObjectAclRequest(bucket=BUCKET, key='attributes', acl='public-read'))
    assert client.get_object_acl(oss.GetObjectAclRequest(bucket=BUCKET, key='attributes')).acl == 'public-read'


def ranges_and_conditions(client):
    etag = put(client, 'range', body(1000)).etag
    ranged = get(client, 'range', range_header='bytes=10-19')
    assert (ranged.status_code, ranged.content_range, ranged.body.content) == (206, 'bytes 10-19/1000', body(1000)[10:20])
    assert get(client, 'range', range_header='bytes=990-1000').status_code == 200
    standard = get(client, 'range', range_header='bytes=990-1000', range_behavior='standard')
    assert (standard.status_code, standard.body.content) == (206, body(1000)[990:])
    refused(lambda: get(client, 'range', range_header='bytes=1000-', range_behavior='standard'), 'InvalidRange')
    assert get(client, 'range', if_match=etag).status_code == 200
    refused(lambda: get(client, 'range', if_match='"00"'), 'PreconditionFailed')


def listing(client):
    names = [f'list/{folder}/{i:03}' for folder in 'ab' for i in range(60)]
    for name in names:
        put(client, name, b'x')
    pages = client.list_objects_v2_paginator().iter_page(oss.ListObjectsV2Request(bucket=BUCKET, prefix='list/', max_keys=7))
    assert [entry.key for page in pages for entry in page.contents] == names
    pages = client.list_objects_paginator().iter_page(oss.ListObjectsRequest(bucket=BUCKET, prefix='list/', max_keys=7))
    assert [entry.key for page in pages for entry in page.contents] == names
    folded = client.list_objects_v2(oss.ListObjectsV2Request(bucket=BUCKET, prefix='list/', delimiter='/'))
    assert [entry.prefix for entry in folded.common_prefixes] == ['list/a/', 'list/b/'] and folded.key_count == 2
    default = client.list_objects_v2(oss.ListObjectsV2Request(bucket=BUCKET, prefix='list/'))
    assert (len(default.contents), default.is_truncated) == (100, True)
    owner = client.list_objects_v2(oss.ListObjectsV2Request(bucket=BUCKET, prefix='list/', max_keys=1, fetch_owner=True)).contents[0].owner
    assert owner.id == 'dragon'
    pages = client.list_objects_v2_paginator().iter_page(oss.ListObjectsV2Request(bucket=BUCKET))
    assert set(ODD_KEYS) <= {entry.key for page in pages for entry in page.contents}
    pages = client.list_object_versions_paginator().iter_page(oss.ListObjectVersionsRequest(bucket=BUCKET, prefix='list/', max_keys=7))
    assert [entry.key for page in pages for entry in page.version] == names


def copies(client):
    for key in ODD_KEYS:
        client.copy_object(oss.CopyObjectRequest(bucket=BUCKET, key='copy of it', source_key=key))
        assert get(client, 'copy of it').body.content == body(1000)
    request = oss.CopyObjectRequest(bucket=BUCKET, key='replaced', source_key='attributes', metadata_directive='REPLACE', metadata={'author': 'li'})
    client.copy_object(request)
    assert get(client, 'replaced').metadata == {'author': 'li'}


def multipart(client):
    at = {'bucket': BUCKET, 'key': 'multi 中'}
    data = [body(102400), body(102401), body(7)]
    upload_id = client.initiate_multipart_upload(oss.InitiateMultipartUploadRequest(**at, metadata={'a': '1'})).upload_id
    parts = []
    for number, part in enumerate(data, 1):
        answer = client.upload_part(oss.UploadPartRequest(**at, upload_id=upload_id, part_number=number, body=part))
        parts.append(oss.UploadPart(part_number=number, etag=answer.etag))
    pages = client.list_parts_paginator().iter_page(oss.ListPartsRequest(**at, upload_id=upload_id, max_parts=2))
    listed = [part for page in pages for part in page.parts]
    assert [part.size for part in listed] == [102400, 102401, 7] and all(part.hash_crc64 for part in listed)
    uploads = client.list_multipart_uploads(oss.ListMultipartUploadsRequest(bucket=BUCKET)).uploads
    assert [(upload.key, upload.upload_id) for upload in uploads] == [('multi 中', upload_id)]
    wrong = oss.CompleteMultipartUpload(parts=list(reversed(parts)))
    refused(lambda: client.complete_multipart_upload(
        oss.CompleteMultipartUploadRequest(**at, upload_id=upload_id, complete_multipart_upload=wrong)), 'InvalidPartOrder')
    done = client.complete_multipart_upload(
        oss.CompleteMultipartUploadRequest(**at, upload_id=upload_id, complete_multipart_upload=oss.CompleteMultipartUpload(parts=parts)))
    assert done.etag.strip('"').endswith('-3') and done.hash_crc64
    got = get(client, 'multi 中')
    assert (got.body.content, got.metadata) == (b''.join(data), {'a': '1'})

    at = {'bucket': BUCKET, 'key': 'multi all'}
    upload_id = client.initiate_multipart_upload(oss.InitiateMultipartUploadRequest(**at)).upload_id
    client.upload_part_copy(oss.UploadPartCopyRequest(
        **at, upload_id=upload_id, part_number=1, source_bucket=BUCKET, source_key='multi 中', source_range='bytes=0-102399'))
    client.upload_part(oss.UploadPartRequest(**at, upload_id=upload_id, part_number=2, body=b'tail'))
    client.complete_multipart_upload(oss.CompleteMultipartUploadRequest(**at, upload_id=upload_id, complete_all='yes'))
    assert get(client, 'multi all').body.content == data[0] + b'tail'

    upload_id = client.initiate_multipart_upload(oss.InitiateMultipartUploadRequest(**at)).upload_id
    client.abort_multipart_upload(oss.AbortMultipartUploadRequest(**at, upload_id=upload_id))
    refused(lambda: client.list_parts(oss.ListPartsRequest(**at, upload_id=upload_id)), 'NoSuchUpload')


def transfers(client):
    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, 'source'), os.path.join(folder, 'target')
        with open(source, 'wb') as file:
            file.write(body(1 << 20))
        uploader = client.uploader(part_size=204800, parallel_num=3)
        uploader.upload_file(oss.PutObjectRequest(bucket=BUCKET, key='transferred'), source)
        client.downloader(part_size=204800).download_file(oss.GetObjectRequest(bucket=BUCKET, key='transferred'), target)
        with open(target, 'rb') as file:
            assert file.read() == body(1 << 20)


def the_rest(client):
    at = {'bucket': BUCKET, 'key': 'appended'}
    first = client.append_object(oss.AppendObjectRequest(**at, position=0, body=b'12345', init_hash_crc64='0'))
    second = client.append_object(oss.AppendObjectRequest(**at, position=5, body=b'6789', init_hash_crc64=first.hash_crc64))
    assert (second.next_position, second.hash_crc64) == (9, '11051210869376104954')
    refused(lambda: client.append_object(oss.AppendObjectRequest(**at, position=3, body=b'x')), 'PositionNotEqualToLength')

    tags = oss.Tagging(tag_set=oss.TagSet(tags=[oss.Tag(key='key 1', value='value+1'), oss.Tag(key='中', value='')]))
    client.put_object_tagging(oss.PutObjectTaggingRequest(**at, tagging=tags))
    told = client.get_object_tagging(oss.GetObjectTaggingRequest(**at)).tag_set.tags
    assert [(tag.key, tag.value or '') for tag in told] == [('key 1', 'value+1'), ('中', '')]
    client.delete_object_tagging(oss.DeleteObjectTaggingRequest(**at))
    assert not client.get_object_tagging(oss.GetObjectTaggingRequest(**at)).tag_set.tags

    client.put_symlink(oss.PutSymlinkRequest(bucket=BUCKET, key='link', target='appended'))
    assert client.get_symlink(oss.GetSymlinkRequest(bucket=BUCKET, key='link')).target == 'appended'
    assert get(client, 'link').body.content == b'123456789'

    put(client, 'frozen', b'x', storage_class='Archive')
    assert refused(lambda: get(client, 'frozen'), 'InvalidObjectState').ec == '0016-00000404'
    days = oss.RestoreRequest(days=1)
    assert client.restore_object(oss.RestoreObjectRequest(bucket=BUCKET, key='frozen', restore_request=days)).status_code == 202
    refused(lambda: client.restore_object(oss.RestoreObjectRequest(bucket=BUCKET, key='attributes', restore_request=days)), 'OperationNotSupported')


def presigned(client):
    def send(signed, data=None):
        return urllib.request.urlopen(urllib.request.Request(signed.url, data=data, method=signed.method, headers=signed.signed_headers))
    for key in ['signed 中 +', 'a/b/c']:
        signed = client.presign(oss.PutObjectRequest(bucket=BUCKET, key=key, content_type='text/plain', metadata={'a': '1'}))
        assert send(signed, b'signed').status == 200
        signed = client.presign(oss.GetObjectRequest(bucket=BUCKET, key=key), expires=datetime.timedelta(days=7))
        with send(signed) as answer:
            assert (answer.read(), answer.headers['x-oss-meta-a']) == (b'signed', '1')
        signed.url += '0'
        try:
            send(signed)
            raise AssertionError('403 was expected')
        except urllib.error.HTTPError as error:
            assert error.code == 403


def deletes(client):
    client.delete_object(oss.DeleteObjectRequest(bucket=BUCKET, key='stream'))
    client.delete_object(oss.DeleteObjectRequest(bucket=BUCKET, key='stream'))
    many = [oss.DeleteObject(key=key) for key in ODD_KEYS]
    deleted = client.delete_multiple_objects(oss.DeleteMultipleObjectsRequest(bucket=BUCKET, objects=many, encoding_type='url'))
    assert [entry.key for entry in deleted.deleted_objects] == ODD_KEYS
    refused(lambda: client.delete_bucket(oss.DeleteBucketRequest(bucket=BUCKET)), 'BucketNotEmpty')
    pages = client.list_objects_v2_paginator().iter_page(oss.ListObjectsV2Request(bucket=BUCKET, max_keys=1000))
    rest = [oss.DeleteObject(key=entry.key) for page in pages for entry in page.contents]
    quiet = client.delete_multiple_objects(oss.DeleteMultipleObjectsRequest(bucket=BUCKET, objects=rest, quiet=True))
    assert not quiet.deleted_objects
    client.delete_bucket(oss.DeleteBucketRequest(bucket=BUCKET))
    refused(lambda: client.get_bucket_info(oss.GetBucketInfoRequest(bucket=BUCKET)), 'NoSuchBucket')


def suite(client):
    for step in (buckets, objects, attributes, ranges_and_conditions, listing, copies, multipart, transfers, the_rest, presigned, deletes):
        step(client)
        print(f'ok {step.__name__}')


def write(client, manifest):
    for entry in manifest['objects']:
        at = {'bucket': manifest['bucket'], 'key': entry['key']}
        # The SDK signs UTF-8 but its HTTP library sends Latin-1, so that its users must keep headers in ASCII: RFC 2047 words.
        metadata = {name: value if value.isascii() else Header(value, 'utf-8').encode() for name, value in entry['metadata'].items()}
        more = {'content_type': entry['content_type'], 'metadata': metadata}
        data = body(entry['size'])
        if entry['part_size'] == 0:
            client.put_object(oss.PutObjectRequest(**at, **more, body=data))
            continue
        upload_id = client.initiate_multipart_upload(oss.InitiateMultipartUploadRequest(**at, **more)).upload_id
        for number, start in enumerate(range(0, len(data), entry['part_size']), 1):
            part = data[start:start + entry['part_size']]
            client.upload_part(oss.UploadPartRequest(**at, upload_id=upload_id, part_number=number, body=part))
        client.complete_multipart_upload(oss.CompleteMultipartUploadRequest(**at, upload_id=upload_id, complete_all='yes'))


def read(client, manifest):
    pages = client.list_objects_v2_paginator().iter_page(oss.ListObjectsV2Request(bucket=manifest['bucket']))
    listed = {entry.key: entry.size for page in pages for entry in page.contents}
    assert listed == {entry['key']: entry['size'] for entry in manifest['objects']}, listed
    for entry in manifest['objects']:
        got = client.get_object(oss.GetObjectRequest(bucket=manifest['bucket'], key=entry['key']))
        assert got.body.content == body(entry['size']), entry['key']
        assert got.content_type == entry['content_type'], entry['key']
        told = {name: decoded(value) for name, value in (got.metadata or {}).items()}
        assert entry['metadata'].items() <= told.items(), (entry['key'], told)


if __name__ == '__main__':
    mode = sys.argv[1]
    if mode == 'suite':
        suite(open_client())
    else:
        with open(sys.argv[2], encoding='utf-8') as file:
            {'write': write, 'read': read}[mode](open_client(), json.load(file))
        print(f'ok {mode}')
