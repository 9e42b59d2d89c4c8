"""oss2 (Alibaba's Python SDK, first generation) against the dev server.

usage: oss2_suite.py suite v1|v4         the SDK's calls, each checked
       oss2_suite.py write|read FILE     put, or check, the objects of a manifest in its bucket

The server is named by DRAGON_OSS_ENDPOINT, DRAGON_OSS_KEY_ID and DRAGON_OSS_KEY_SECRET. The SDK checks CRC-64 itself.
"""
import json
import os
import sys
import tempfile
import urllib.request
from email.header import decode_header, make_header

import oss2
from oss2.models import (BatchDeleteObjectVersionList, PartInfo, Tagging, TaggingRule)

ODD_KEYS = ['a b+c%2F&=?#', "quotes'\"<>", 'a//b', 'a/../c', '中文/文件.txt', '🐉', 'x' * 1023]


def body(size):
    return bytes((i * 7 + size) % 251 for i in range(size))


def decoded(value):
    """Metadata beyond ASCII: Dragon sends RFC 2047 words, others the bare bytes, which Python shows as Latin-1."""
    if value.startswith('=?'):
        return str(make_header(decode_header(value)))
    return value.encode('latin-1').decode()


def open_bucket(name, version):
    auth = oss2.make_auth(os.environ['DRAGON_OSS_KEY_ID'], os.environ['DRAGON_OSS_KEY_SECRET'], version)
    return oss2.Bucket(auth, os.environ['DRAGON_OSS_ENDPOINT'], name, region='cn-hangzhou')


def refused(call, kind, code):
    try:
        call()
    except kind as error:
        assert error.code == code, (error.code, code)
        return error
    raise AssertionError(f'{code} was expected')


def buckets(bucket):
    bucket.create_bucket(oss2.BUCKET_ACL_PRIVATE)
    service = oss2.Service(bucket.auth, bucket.endpoint, region='cn-hangzhou')
    assert bucket.bucket_name in [found.name for found in oss2.BucketIterator(service, prefix='oss2-')]
    info = bucket.get_bucket_info()
    assert (info.name, info.acl.grant, info.storage_class) == (bucket.bucket_name, 'private', 'Standard')
    assert bucket.get_bucket_location().location == 'oss-cn-hangzhou'
    bucket.put_bucket_acl(oss2.BUCKET_ACL_PUBLIC_READ)
    assert bucket.get_bucket_acl().acl == 'public-read'
    bucket.put_bucket_acl(oss2.BUCKET_ACL_PRIVATE)
    assert bucket.get_bucket_versioning().status is None
    refused(bucket.get_bucket_lifecycle, oss2.exceptions.NoSuchLifecycle, 'NoSuchLifecycle')


def objects(bucket):
    for key in ODD_KEYS:
        put = bucket.put_object(key, body(1000))
        assert put.crc is not None and put.etag == put.etag.upper()
        got = bucket.get_object(key)
        assert got.read() == body(1000) and got.server_crc == put.crc
    bucket.put_object('empty', b'')
    assert bucket.get_object('empty').read() == b''
    assert bucket.object_exists('empty') and not bucket.object_exists('absent')
    refused(lambda: bucket.get_object('absent'), oss2.exceptions.NoSuchKey, 'NoSuchKey')
    assert refused(lambda: bucket.head_object('absent'), oss2.exceptions.NotFound, 'NoSuchKey').details['EC'] == '0026-00000001'
    refused(lambda: bucket.put_object('/rooted', b''), oss2.exceptions.OssError, 'InvalidObjectName')
    refused(lambda: bucket.put_object('empty', b'', headers={'x-oss-forbid-overwrite': 'true'}), oss2.exceptions.OssError, 'FileAlreadyExists')


def attributes(bucket):
    headers = {'Content-Type': 'text/x-test', 'Cache-Control': 'no-cache', 'x-oss-meta-author': 'wang', 'x-oss-storage-class': 'IA'}
    bucket.put_object('attributes', b'x', headers=headers)
    head = bucket.head_object('attributes')
    assert {name: head.headers[name] for name in headers} == headers
    assert (head.content_length, head.object_type) == (1, 'Normal')
    assert bucket.get_object_meta('attributes').content_length == 1
    bucket.update_object_meta('attributes', {'x-oss-meta-author': 'li'})
    assert bucket.head_object('attributes').headers['x-oss-meta-author'] == 'li'
    assert bucket.get_object_acl('attributes').acl == 'default'
    bucket.put_object_acl('attributes', oss2.OBJECT_ACL_PUBLIC_READ)
    assert bucket.get_object_acl('attributes').acl == 'public-read'


def ranges_and_conditions(bucket):
    put = bucket.put_object('range', body(1000))
    ranged = bucket.get_object('range', byte_range=(10, 19))
    assert (ranged.status, ranged.content_range, ranged.read()) == (206, 'bytes 10-19/1000', body(1000)[10:20])
    assert bucket.get_object('range', byte_range=(990, None)).read() == body(1000)[990:]
    assert bucket.get_object('range', byte_range=(None, 10)).read() == body(1000)[990:]
    assert bucket.get_object('range', byte_range=(990, 1000)).read() == body(1000), 'past the end: everything'
    standard = bucket.get_object('range', byte_range=(990, 1000), headers={'x-oss-range-behavior': 'standard'})
    assert (standard.status, standard.read()) == (206, body(1000)[990:])
    refused(lambda: bucket.get_object('range', headers={'If-Match': '"00"'}), oss2.exceptions.PreconditionFailed, 'PreconditionFailed')
    assert bucket.get_object('range', headers={'If-Match': f'"{put.etag}"'}).status == 200
    try:
        bucket.get_object('range', headers={'If-None-Match': f'"{put.etag}"'})
        raise AssertionError('304 was expected')
    except oss2.exceptions.NotModified as error:
        assert error.status == 304


def listing(bucket):
    names = [f'list/{folder}/{i:03}' for folder in 'ab' for i in range(60)]
    for name in names:
        bucket.put_object(name, b'x')
    for iterator in (oss2.ObjectIterator, oss2.ObjectIteratorV2):
        assert [found.key for found in iterator(bucket, prefix='list/', max_keys=7)] == names
        folders = list(iterator(bucket, prefix='list/', delimiter='/'))
        assert [found.key for found in folders] == ['list/a/', 'list/b/'] and all(found.is_prefix() for found in folders)
    assert len(bucket.list_objects(prefix='list/').object_list) == 100, 'the default page'
    assert [found.key for found in oss2.ObjectIteratorV2(bucket, prefix='list/', start_after='list/b/057')] == names[-2:]
    found = {entry.key for entry in oss2.ObjectIteratorV2(bucket)}
    assert set(ODD_KEYS) <= found, set(ODD_KEYS) - found
    versions = bucket.list_object_versions(prefix='list/', max_keys=5)
    assert versions.is_truncated and [version.key for version in versions.versions] == names[:5]


def copies(bucket):
    for key in ODD_KEYS:
        bucket.copy_object(bucket.bucket_name, key, 'copy of it')
        assert bucket.get_object('copy of it').read() == body(1000)


def multipart(bucket):
    parts, data = [], [body(102400), body(102401), body(7)]
    upload_id = bucket.init_multipart_upload('multi 中', headers={'x-oss-meta-a': '1'}).upload_id
    for number, part in enumerate(data, 1):
        answer = bucket.upload_part('multi 中', upload_id, number, part)
        parts.append(PartInfo(number, answer.etag, size=len(part), part_crc=answer.crc))
    assert [part.size for part in oss2.PartIterator(bucket, 'multi 中', upload_id, max_parts=2)] == [102400, 102401, 7]
    assert upload_id in [upload.upload_id for upload in oss2.MultipartUploadIterator(bucket)]
    done = bucket.complete_multipart_upload('multi 中', upload_id, parts)
    assert done.etag.endswith('-3')
    assert bucket.get_object('multi 中').read() == b''.join(data)
    assert bucket.head_object('multi 中').headers['x-oss-meta-a'] == '1'

    upload_id = bucket.init_multipart_upload('multi copy').upload_id
    part = bucket.upload_part_copy(bucket.bucket_name, 'multi 中', (0, 102399), 'multi copy', upload_id, 1)
    bucket.complete_multipart_upload('multi copy', upload_id, [PartInfo(1, part.etag)])
    assert bucket.get_object('multi copy').read() == data[0]

    upload_id = bucket.init_multipart_upload('aborted').upload_id
    bucket.abort_multipart_upload('aborted', upload_id)
    refused(lambda: bucket.list_parts('aborted', upload_id), oss2.exceptions.NoSuchUpload, 'NoSuchUpload')

    with tempfile.TemporaryDirectory() as folder:
        source, target = os.path.join(folder, 'source'), os.path.join(folder, 'target')
        with open(source, 'wb') as file:
            file.write(body(1 << 20))
        store = oss2.ResumableStore(root=folder)
        oss2.resumable_upload(bucket, 'resumable', source, store=store, multipart_threshold=102400, part_size=204800, num_threads=3)
        oss2.resumable_download(bucket, 'resumable', target, store=oss2.ResumableDownloadStore(root=folder), multiget_threshold=102400, part_size=204800)
        with open(target, 'rb') as file:
            assert file.read() == body(1 << 20)


def the_rest(bucket):
    result = bucket.append_object('appended', 0, b'12345', init_crc=0)
    result = bucket.append_object('appended', result.next_position, b'6789', init_crc=result.crc)
    assert (result.next_position, result.crc) == (9, 11051210869376104954)
    refused(lambda: bucket.append_object('appended', 3, b'x'), oss2.exceptions.PositionNotEqualToLength, 'PositionNotEqualToLength')

    rule = TaggingRule()
    rule.add('key 1', 'value+1')
    rule.add('中', '')
    bucket.put_object_tagging('appended', Tagging(rule))
    assert bucket.get_object_tagging('appended').tag_set.tagging_rule == {'key 1': 'value+1', '中': ''}
    bucket.delete_object_tagging('appended')
    assert bucket.get_object_tagging('appended').tag_set.len() == 0

    bucket.put_symlink('appended', 'link')
    assert bucket.get_symlink('link').target_key == 'appended'
    assert bucket.get_object('link').read() == b'123456789'

    bucket.put_object('frozen', b'x', headers={'x-oss-storage-class': 'Archive'})
    refused(lambda: bucket.get_object('frozen'), oss2.exceptions.ServerError, 'InvalidObjectState')
    assert bucket.restore_object('frozen').status == 202


def presigned(bucket):
    for key in ['signed 中 +', 'a/b/c']:
        url = bucket.sign_url('PUT', key, 60, headers={'Content-Type': 'text/plain'}, slash_safe=True)
        request = urllib.request.Request(url, data=b'signed', method='PUT', headers={'Content-Type': 'text/plain'})
        assert urllib.request.urlopen(request).status == 200
        url = bucket.sign_url('GET', key, 60, params={'response-content-type': 'text/x-b'})
        with urllib.request.urlopen(url) as answer:
            assert (answer.read(), answer.headers['Content-Type']) == (b'signed', 'text/x-b')
        try:
            urllib.request.urlopen(url.replace('text', 'tent'))
            raise AssertionError('403 was expected')
        except urllib.error.HTTPError as error:
            assert error.code == 403


def deletes(bucket):
    bucket.delete_object('empty')
    bucket.delete_object('empty')
    deleted = bucket.batch_delete_objects(ODD_KEYS)
    assert sorted(deleted.deleted_keys) == sorted(ODD_KEYS)
    versions = BatchDeleteObjectVersionList()
    assert versions.len() == 0
    refused(bucket.delete_bucket, oss2.exceptions.BucketNotEmpty, 'BucketNotEmpty')
    keys = [found.key for found in oss2.ObjectIterator(bucket)]
    for at in range(0, len(keys), 1000):
        bucket.batch_delete_objects(keys[at:at + 1000])
    bucket.delete_bucket()
    refused(bucket.get_bucket_info, oss2.exceptions.NoSuchBucket, 'NoSuchBucket')


def suite(version):
    bucket = open_bucket(f'oss2-{version}', version)
    for step in (buckets, objects, attributes, ranges_and_conditions, listing, copies, multipart, the_rest, presigned, deletes):
        step(bucket)
        print(f'ok {version} {step.__name__}')


def write(manifest):
    bucket = open_bucket(manifest['bucket'], 'v4')
    for entry in manifest['objects']:
        headers = {'Content-Type': entry['content_type']}
        headers.update({f'x-oss-meta-{name}': value.encode() for name, value in entry['metadata'].items()})
        data = body(entry['size'])
        if entry['part_size'] == 0:
            bucket.put_object(entry['key'], data, headers=headers)
            continue
        upload_id = bucket.init_multipart_upload(entry['key'], headers=headers).upload_id
        parts = []
        for number, at in enumerate(range(0, len(data), entry['part_size']), 1):
            part = data[at:at + entry['part_size']]
            answer = bucket.upload_part(entry['key'], upload_id, number, part)
            parts.append(PartInfo(number, answer.etag, size=len(part), part_crc=answer.crc))
        bucket.complete_multipart_upload(entry['key'], upload_id, parts)


def read(manifest):
    bucket = open_bucket(manifest['bucket'], 'v4')
    listed = {found.key: found.size for found in oss2.ObjectIteratorV2(bucket)}
    assert listed == {entry['key']: entry['size'] for entry in manifest['objects']}, listed
    for entry in manifest['objects']:
        got = bucket.get_object(entry['key'])
        assert got.read() == body(entry['size']), entry['key']
        assert got.headers['Content-Type'] == entry['content_type'], entry['key']
        for name, value in entry['metadata'].items():
            told = decoded(got.headers[f'x-oss-meta-{name}'])
            assert told == value, (entry['key'], name, told)


if __name__ == '__main__':
    mode, argument = sys.argv[1:]
    if mode == 'suite':
        suite(argument)
    else:
        with open(argument, encoding='utf-8') as file:
            {'write': write, 'read': read}[mode](json.load(file))
        print(f'ok {mode}')
