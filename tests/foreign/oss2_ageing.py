"""oss2 against an OSS side whose days are short: DAY_SECONDS as argument, the server as oss2_suite.py has it. Fails at the first surprise."""
import datetime
import os
import sys
import time

import oss2
from oss2.models import (AbortMultipartUpload, BatchDeleteObjectVersion, BatchDeleteObjectVersionList, BucketLifecycle, BucketVersioningConfig, FilterNot,
                         FilterNotTag, LifecycleExpiration, LifecycleFilter, LifecycleRule, NoncurrentVersionExpiration, NoncurrentVersionStorageTransition,
                         StorageTransition)

DAY = float(sys.argv[1])


def refused(call, code):
    try:
        call()
    except oss2.exceptions.ServerError as error:
        assert error.code == code, (error.code, code)
        return error
    raise AssertionError(f'{code} was expected')


def within(days, seen):
    """Waits until something is seen, for so many days and a little."""
    end = time.monotonic() + (days + 1) * DAY + 3
    while not seen():
        assert time.monotonic() < end, f'not within {days} days'
        time.sleep(0.2)


def moves(*days_and_classes):
    return [StorageTransition(days=days, storage_class=storage_class) for days, storage_class in days_and_classes]


def rules(bucket):
    refused(bucket.get_bucket_lifecycle, 'NoSuchLifecycle')
    first = LifecycleRule('first', 'logs/', status=LifecycleRule.ENABLED, expiration=LifecycleExpiration(days=400),
                          storage_transitions=moves((30, 'IA'), (60, 'Archive'), (180, 'ColdArchive'), (365, 'DeepColdArchive')))
    other = LifecycleRule('second', 'data/', status=LifecycleRule.DISABLED, abort_multipart_upload=AbortMultipartUpload(created_before_date=datetime.date(2030, 1, 1)),
                          filter=LifecycleFilter(object_size_greater_than=100, object_size_less_than=1000, filter_not=[FilterNot('data/keep', FilterNotTag('k', 'v'))]))
    bucket.put_bucket_lifecycle(BucketLifecycle([first, other]))
    told = bucket.get_bucket_lifecycle().rules
    assert [(rule.id, rule.prefix, rule.status) for rule in told] == [('first', 'logs/', 'Enabled'), ('second', 'data/', 'Disabled')]
    assert [(move.days, move.storage_class) for move in told[0].storage_transitions] == [(30, 'IA'), (60, 'Archive'), (180, 'ColdArchive'), (365, 'DeepColdArchive')]
    assert told[1].filter.filter_not[0].prefix == 'data/keep'
    expires = lambda name, prefix: LifecycleRule(name, prefix, expiration=LifecycleExpiration(days=9))
    overlapping = BucketLifecycle([expires('a', 'logs/'), expires('b', 'logs/x')])
    refused(lambda: bucket.put_bucket_lifecycle(overlapping), 'InvalidArgument')
    bucket.put_bucket_lifecycle(overlapping, headers={'x-oss-allow-same-action-overlap': 'true'})
    refused(lambda: bucket.put_bucket_lifecycle(BucketLifecycle([LifecycleRule('r', 'x', storage_transitions=moves((60, 'IA'), (30, 'Archive')))])), 'InvalidArgument')
    refused(lambda: bucket.put_bucket_lifecycle(BucketLifecycle([expires(str(number), f'{number}/') for number in range(1001)])), 'MalformedXML')
    refused(lambda: bucket.put_bucket_lifecycle('<LifecycleConfiguration><Rule></LifecycleConfiguration>'), 'MalformedXML')
    bucket.delete_bucket_lifecycle()
    refused(bucket.get_bucket_lifecycle, 'NoSuchLifecycle')


def ageing(bucket):
    bucket.put_object('cold/x', b'frozen soon')
    bucket.put_object('gone/x', b'x')
    bucket.put_object('gone/kept', b'x')
    bucket.init_multipart_upload('gone/upload')
    before = bucket.head_object('cold/x')
    rules = [LifecycleRule('cold', 'cold/', storage_transitions=moves((1, 'ColdArchive'))),
             LifecycleRule('gone', 'gone/', expiration=LifecycleExpiration(days=1), abort_multipart_upload=AbortMultipartUpload(days=1),
                           filter=LifecycleFilter(filter_not=[FilterNot('gone/k')]))]
    bucket.put_bucket_lifecycle(BucketLifecycle(rules))
    within(2, lambda: bucket.head_object('cold/x').headers['x-oss-storage-class'] == 'ColdArchive')
    after = bucket.head_object('cold/x')
    assert (after.last_modified, after.etag) == (before.last_modified, before.etag)
    assert after.headers['x-oss-transition-time'].endswith('GMT')
    assert [entry.storage_class for entry in bucket.list_objects_v2(prefix='cold/').object_list] == ['ColdArchive']
    refused(lambda: bucket.get_object('cold/x'), 'InvalidObjectState')
    within(2, lambda: [entry.key for entry in bucket.list_objects_v2(prefix='gone/').object_list] == ['gone/kept'])
    within(2, lambda: not bucket.list_multipart_uploads().upload_list)


def restoring(bucket):
    bucket.restore_object('cold/x', input=oss2.models.RestoreConfiguration(days=2, job_parameters=oss2.models.RestoreJobParameters('Expedited')))
    within(2, lambda: 'ongoing-request="false"' in bucket.head_object('cold/x').headers['x-oss-restore'])
    assert bucket.get_object('cold/x').read() == b'frozen soon'
    within(4, lambda: 'x-oss-restore' not in bucket.head_object('cold/x').headers)
    refused(lambda: bucket.get_object('cold/x'), 'InvalidObjectState')


def versions(bucket):
    assert bucket.put_object('k', b'zero').versionid is None
    bucket.put_bucket_versioning(BucketVersioningConfig(oss2.BUCKET_VERSIONING_ENABLE))
    assert bucket.get_bucket_versioning().status == 'Enabled'
    one, two = bucket.put_object('k', b'one').versionid, bucket.put_object('k', b'two', headers={'x-oss-forbid-overwrite': 'true'}).versionid
    read = lambda version: bucket.get_object('k', params={'versionId': version}).read()
    assert [read(version) for version in ('null', one, two)] == [b'zero', b'one', b'two']
    assert bucket.head_object('k').versionid == two
    copied = bucket.copy_object(bucket.bucket_name, 'k', 'copy', params={'versionId': one})
    assert copied.versionid and bucket.get_object('copy').read() == b'one'
    gone = bucket.delete_object('k')
    assert gone.delete_marker and gone.versionid
    assert refused(lambda: bucket.get_object('k'), 'NoSuchKey').headers['x-oss-delete-marker'] == 'true'
    refused(lambda: read(gone.versionid), 'MethodNotAllowed')
    listed = bucket.list_object_versions(prefix='k')
    assert [(version.versionid, version.is_latest) for version in listed.versions] == [(two, False), (one, False), ('null', False)]
    assert [(marker.versionid, marker.is_latest) for marker in listed.delete_marker] == [(gone.versionid, True)]
    first = bucket.list_object_versions(prefix='k', max_keys=2)
    rest = bucket.list_object_versions(prefix='k', key_marker=first.next_key_marker, versionid_marker=first.next_versionid_marker)
    assert first.is_truncated and [version.versionid for version in rest.versions] == [one, 'null'] and not rest.delete_marker
    batch = BatchDeleteObjectVersionList([BatchDeleteObjectVersion('k', gone.versionid), BatchDeleteObjectVersion('copy', copied.versionid)])
    deleted = bucket.delete_object_versions(batch).delete_versions
    assert [(entry.key, entry.delete_marker) for entry in deleted] == [('k', True), ('copy', False)], [vars(entry) for entry in deleted]
    assert bucket.get_object('k').read() == b'two'
    bucket.put_bucket_versioning(BucketVersioningConfig(oss2.BUCKET_VERSIONING_SUSPEND))
    assert bucket.put_object('k', b'null').versionid == 'null' and read('null') == b'null'
    assert bucket.get_bucket_info().versioning_status == 'Suspended'
    rule = LifecycleRule('former', 'k', noncurrent_version_sotrage_transitions=[NoncurrentVersionStorageTransition(1, 'Archive')],
                         noncurrent_version_expiration=NoncurrentVersionExpiration(3))
    bucket.put_bucket_lifecycle(BucketLifecycle([rule]))
    assert bucket.get_bucket_lifecycle().rules[0].noncurrent_version_expiration.noncurrent_days == 3
    within(2, lambda: {version.storage_class for version in bucket.list_object_versions(prefix='k').versions if not version.is_latest} == {'Archive'})
    within(4, lambda: [version.versionid for version in bucket.list_object_versions(prefix='k').versions] == ['null'])


def main():
    auth = oss2.make_auth(os.environ['DRAGON_OSS_KEY_ID'], os.environ['DRAGON_OSS_KEY_SECRET'], 'v4')
    bucket = oss2.Bucket(auth, os.environ['DRAGON_OSS_ENDPOINT'], 'oss2-age', region='cn-hangzhou')
    bucket.create_bucket()
    for step in [rules, ageing, restoring, versions]:
        step(bucket)
        print('ok', step.__name__)


main()
