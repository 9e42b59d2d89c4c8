"""alibabacloud-oss-v2 against an OSS side whose days are short: DAY_SECONDS as argument, the server as oss_v2_suite.py has it."""
import datetime
import os
import sys
import time

import alibabacloud_oss_v2 as oss

BUCKET = 'oss-v2-age'
DAY = float(sys.argv[1])


def refused(call, code):
    try:
        call()
    except oss.exceptions.OperationError as error:
        service = error.unwrap()
        assert service.code == code, (service.code, code)
        return service
    raise AssertionError(f'{code} was expected')


def within(days, seen):
    """Waits until something is seen, for so many days and a little."""
    end = time.monotonic() + (days + 1) * DAY + 3
    while not seen():
        assert time.monotonic() < end, f'not within {days} days'
        time.sleep(0.2)


def put(client, key, body):
    return client.put_object(oss.PutObjectRequest(bucket=BUCKET, key=key, body=body))


def head(client, key, version=None):
    return client.head_object(oss.HeadObjectRequest(bucket=BUCKET, key=key, version_id=version))


def read(client, key, version=None):
    return client.get_object(oss.GetObjectRequest(bucket=BUCKET, key=key, version_id=version)).body.content


def put_rules(client, *rules):
    configuration = oss.LifecycleConfiguration(rules=list(rules))
    client.put_bucket_lifecycle(oss.PutBucketLifecycleRequest(bucket=BUCKET, lifecycle_configuration=configuration))


def ageing(client):
    put(client, 'cold/x', b'frozen soon')
    put(client, 'warm/x', b'warm')
    cold = oss.LifecycleRule(id='cold', prefix='cold/', status='Enabled', transitions=[oss.LifecycleRuleTransition(days=1, storage_class='DeepColdArchive')])
    tomorrow = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    dated = oss.LifecycleRule(id='dated', prefix='warm/', status='Enabled', transitions=[oss.LifecycleRuleTransition(created_before_date=tomorrow, storage_class='IA')])
    put_rules(client, cold, dated)
    told = client.get_bucket_lifecycle(oss.GetBucketLifecycleRequest(bucket=BUCKET)).lifecycle_configuration.rules
    assert [(rule.id, rule.transitions[0].storage_class) for rule in told] == [('cold', 'DeepColdArchive'), ('dated', 'IA')]
    within(2, lambda: head(client, 'cold/x').storage_class == 'DeepColdArchive' and head(client, 'warm/x').storage_class == 'IA')
    assert head(client, 'cold/x').headers['x-oss-transition-time'] and 'x-oss-transition-time' not in head(client, 'warm/x').headers
    entry = client.list_objects_v2(oss.ListObjectsV2Request(bucket=BUCKET, prefix='cold/')).contents[0]
    assert entry.storage_class == 'DeepColdArchive' and entry.transition_time, vars(entry)
    refused(lambda: read(client, 'cold/x'), 'InvalidObjectState')
    request = oss.RestoreRequest(days=2, tier='Expedited')
    client.restore_object(oss.RestoreObjectRequest(bucket=BUCKET, key='cold/x', restore_request=request))
    within(2, lambda: 'ongoing-request="false"' in (head(client, 'cold/x').restore or ''))
    assert read(client, 'cold/x') == b'frozen soon'
    within(4, lambda: not head(client, 'cold/x').restore)


def versions(client):
    put(client, 'k', b'zero')
    configuration = oss.VersioningConfiguration(status='Enabled')
    client.put_bucket_versioning(oss.PutBucketVersioningRequest(bucket=BUCKET, versioning_configuration=configuration))
    assert client.get_bucket_versioning(oss.GetBucketVersioningRequest(bucket=BUCKET)).version_status == 'Enabled'
    one = put(client, 'k', b'one').version_id
    assert (read(client, 'k', 'null'), read(client, 'k', one), head(client, 'k').version_id) == (b'zero', b'one', one)
    gone = client.delete_object(oss.DeleteObjectRequest(bucket=BUCKET, key='k'))
    assert gone.delete_marker and gone.version_id
    refused(lambda: read(client, 'k'), 'NoSuchKey')
    refused(lambda: read(client, 'k', gone.version_id), 'MethodNotAllowed')
    pages = list(client.list_object_versions_paginator().iter_page(oss.ListObjectVersionsRequest(bucket=BUCKET, prefix='k', max_keys=1)))
    found = [(entry.version_id, entry.is_latest) for page in pages for entry in (page.version or []) + (page.delete_marker or [])]
    assert found == [(gone.version_id, True), (one, False), ('null', False)], found
    objects = [oss.DeleteObject(key='k', version_id=gone.version_id), oss.DeleteObject(key='other')]
    deleted = client.delete_multiple_objects(oss.DeleteMultipleObjectsRequest(bucket=BUCKET, objects=objects)).deleted_objects
    assert [entry.delete_marker for entry in deleted] == [True, True] and deleted[0].version_id == gone.version_id and deleted[1].delete_marker_version_id
    assert read(client, 'k') == b'one'
    # The deletion of what was never there made a marker behind which nothing is: it goes by itself.
    put_rules(client, oss.LifecycleRule(id='r', prefix='', status='Enabled', expiration=oss.LifecycleRuleExpiration(expired_object_delete_marker=True),
                                        noncurrent_version_expiration=oss.NoncurrentVersionExpiration(noncurrent_days=1)))
    within(3, lambda: [entry.version_id for entry in client.list_object_versions(oss.ListObjectVersionsRequest(bucket=BUCKET, prefix='k')).version] == [one])
    within(2, lambda: not client.list_object_versions(oss.ListObjectVersionsRequest(bucket=BUCKET)).delete_marker)


def main():
    config = oss.config.load_default()
    config.credentials_provider = oss.credentials.StaticCredentialsProvider(os.environ['DRAGON_OSS_KEY_ID'], os.environ['DRAGON_OSS_KEY_SECRET'])
    config.region, config.endpoint = 'cn-hangzhou', os.environ['DRAGON_OSS_ENDPOINT']
    client = oss.Client(config)
    client.put_bucket(oss.PutBucketRequest(bucket=BUCKET))
    for step in [ageing, versions]:
        step(client)
        print('ok', step.__name__)


main()
