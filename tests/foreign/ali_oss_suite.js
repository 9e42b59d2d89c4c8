// ali-oss (Alibaba's JavaScript SDK) against the dev server.
//
// usage: ali_oss_suite.js suite v1|v4 ip|path|virtual|cname   the SDK's calls, each checked, over one way of addressing
//        ali_oss_suite.js write|read FILE                     put, or check, the objects of a manifest in its bucket
//
// The server is named by DRAGON_OSS_ENDPOINT, DRAGON_OSS_KEY_ID and DRAGON_OSS_KEY_SECRET; it knows the bound domain
// DRAGON_OSS_CNAME of the bucket `ali-oss-cname`. Run in the folder where the package is installed.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const http = require('node:http');
const os = require('node:os');
const path = require('node:path');
const { createRequire } = require('node:module');
const OSS = createRequire(path.join(process.cwd(), 'package.json'))('ali-oss');

const ODD_KEYS = ['a b+c%2F&=?#', 'quotes\'"<>', 'a//b', '中文/文件.txt', '🐉', 'x'.repeat(1023)];
const port = new URL(process.env.DRAGON_OSS_ENDPOINT).port;

// Every name leads to the dev server, as a resolver override does.
const toLoopback = (_name, options, done) => (options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4));
const agent = new http.Agent({ keepAlive: true, lookup: toLoopback });

const WAYS = {
  // The SDK keeps virtual hosts even for an address: it sends the region's own host.
  ip: { endpoint: process.env.DRAGON_OSS_ENDPOINT },
  path: { endpoint: `http://localhost:${port}`, sldEnable: true },
  virtual: { endpoint: `http://oss-local.test:${port}` },
  cname: { endpoint: `http://${process.env.DRAGON_OSS_CNAME}:${port}`, cname: true },
};

function open(bucket, version, way, more = {}) {
  return new OSS({
    accessKeyId: process.env.DRAGON_OSS_KEY_ID,
    accessKeySecret: process.env.DRAGON_OSS_KEY_SECRET,
    region: 'oss-cn-hangzhou',
    authorizationV4: version === 'v4',
    bucket,
    agent,
    ...WAYS[way],
    ...more,
  });
}

const body = (size) => Buffer.from(Array.from({ length: size }, (_, i) => (i * 7 + size) % 251));

// Metadata beyond ASCII: Dragon sends RFC 2047 words, others the bare bytes, which node shows as Latin-1.
function decoded(value) {
  const word = /^=\?UTF-8\?B\?([^?]*)\?=$/i.exec(value);
  return word ? Buffer.from(word[1], 'base64').toString() : Buffer.from(value, 'latin1').toString();
}

async function refused(call, code) {
  await assert.rejects(call, (error) => {
    assert.equal(error.code, code, `${error.code} instead of ${code}: ${error.message}`);
    return true;
  });
}

async function buckets(client, bucket) {
  await client.putBucket(bucket);
  const info = (await client.getBucketInfo(bucket)).bucket;
  assert.deepEqual([info.Name, info.Location, info.StorageClass], [bucket, 'oss-cn-hangzhou', 'Standard']);
  await client.putBucketACL(bucket, 'public-read');
  assert.equal((await client.getBucketACL(bucket)).acl, 'public-read');
  assert.equal((await client.getBucketLocation(bucket)).location, 'oss-cn-hangzhou');
}

async function objects(client) {
  for (const key of ODD_KEYS) {
    const put = await client.put(key, body(1000));
    const got = await client.get(key);
    assert.ok(got.content.equals(body(1000)), key);
    assert.equal(got.res.headers['x-oss-hash-crc64ecma'], put.res.headers['x-oss-hash-crc64ecma']);
    assert.equal(got.res.headers.etag, got.res.headers.etag.toUpperCase());
  }
  const streamed = await client.putStream('streamed', fs.createReadStream(__filename));
  assert.equal(streamed.res.status, 200);
  assert.ok((await client.get('streamed')).content.equals(fs.readFileSync(__filename)));
  await refused(() => client.get('absent'), 'NoSuchKey');
  await refused(() => client.head('absent'), 'NoSuchKey');
  await refused(() => client.put('streamed', body(1), { headers: { 'x-oss-forbid-overwrite': 'true' } }), 'FileAlreadyExists');
}

async function attributes(client, bucket, version, way) {
  // How the SDK's users send metadata that is not ASCII.
  const speaker = open(bucket, version, way, { headerEncoding: 'latin1' });
  await speaker.put('attributes.txt', body(5), { mime: 'text/x-test', meta: { author: '王小明', year: 2026 }, headers: { 'Cache-Control': 'no-cache' } });
  const head = await client.head('attributes.txt');
  assert.equal(head.res.headers['content-type'], 'text/x-test');
  assert.equal(head.res.headers['cache-control'], 'no-cache');
  assert.equal(Buffer.from(head.meta.author, 'latin1').toString(), '王小明');
  assert.equal(head.meta.year, '2026');
  assert.equal((await client.getObjectMeta('attributes.txt')).res.headers['content-length'], '5');
  await client.putACL('attributes.txt', 'public-read');
  assert.equal((await client.getACL('attributes.txt')).acl, 'public-read');
}

async function rangesAndConditions(client) {
  const etag = (await client.put('range', body(1000))).res.headers.etag;
  const ranged = await client.get('range', { headers: { Range: 'bytes=10-19' } });
  assert.equal(ranged.res.status, 206);
  assert.ok(ranged.content.equals(body(1000).subarray(10, 20)));
  assert.equal((await client.get('range', { headers: { Range: 'bytes=990-1000' } })).content.length, 1000);
  assert.equal((await client.head('range', { headers: { 'If-None-Match': etag } })).status, 304);
  await refused(() => client.get('range', { headers: { 'If-Match': '"00"' } }), 'PreconditionFailed');
}

async function listing(client) {
  const names = ['a', 'b'].flatMap((folder) => Array.from({ length: 6 }, (_, i) => `list/${folder}/${i}`));
  for (const name of names) await client.put(name, Buffer.from('x'));
  let found = [];
  let token = null;
  do {
    const page = await client.listV2({ prefix: 'list/', 'max-keys': 5, ...(token && { 'continuation-token': token }) });
    found = found.concat(page.objects.map((object) => object.name));
    token = page.nextContinuationToken;
  } while (token);
  assert.deepEqual(found, names);
  const first = await client.list({ prefix: 'list/', 'max-keys': 5 });
  const second = await client.list({ prefix: 'list/', 'max-keys': 100, marker: first.nextMarker });
  assert.deepEqual([...first.objects, ...second.objects].map((object) => object.name), names);
  const folded = await client.listV2({ prefix: 'list/', delimiter: '/' });
  assert.deepEqual(folded.prefixes, ['list/a/', 'list/b/']);
  const all = new Set((await client.listV2({ 'max-keys': 1000 })).objects.map((object) => object.name));
  for (const key of ODD_KEYS) assert.ok(all.has(key), key);
}

async function copies(client) {
  for (const key of ODD_KEYS) {
    await client.copy('copy of it', key);
    assert.ok((await client.get('copy of it')).content.equals(body(1000)), key);
  }
}

async function multipart(client, bucket) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ali-oss-'));
  const file = path.join(folder, 'file');
  fs.writeFileSync(file, body(300 * 1024 + 7));
  const done = await client.multipartUpload('multi 中', file, { partSize: 100 * 1024, parallel: 2, meta: { a: '1' } });
  assert.match(done.etag, /-4"$/);
  const got = await client.get('multi 中');
  assert.ok(got.content.equals(body(300 * 1024 + 7)));
  assert.equal(got.res.headers['x-oss-object-type'], 'Multipart');
  await client.multipartUploadCopy('multi copy', { sourceKey: 'multi 中', sourceBucketName: bucket }, { partSize: 150 * 1024 });
  assert.ok((await client.get('multi copy')).content.equals(body(300 * 1024 + 7)));

  const { uploadId } = await client.initMultipartUpload('by hand');
  const part = await client.uploadPart('by hand', uploadId, 1, file, 0, 1000);
  assert.equal((await client.listParts('by hand', uploadId)).parts.Size, '1000');
  assert.deepEqual((await client.listUploads({ 'max-uploads': 10 })).uploads.map((upload) => upload.uploadId), [uploadId]);
  await refused(() => client.completeMultipartUpload('by hand', uploadId, [{ number: 2, etag: part.etag }]), 'InvalidPart');
  await client.abortMultipartUpload('by hand', uploadId);
  await refused(() => client.listParts('by hand', uploadId), 'NoSuchUpload');
  fs.rmSync(folder, { recursive: true });
}

async function theRest(client) {
  const first = await client.append('appended', Buffer.from('12345'));
  const second = await client.append('appended', Buffer.from('6789'), { position: first.nextAppendPosition });
  assert.equal(second.res.headers['x-oss-hash-crc64ecma'], '11051210869376104954');
  await client.putObjectTagging('appended', { 'key 1': 'value+1', b: '2' });
  assert.deepEqual((await client.getObjectTagging('appended')).tag, { 'key 1': 'value+1', b: '2' });
  await client.deleteObjectTagging('appended');
  assert.deepEqual((await client.getObjectTagging('appended')).tag, {});
  await client.putSymlink('link', 'appended');
  assert.equal((await client.getSymlink('link')).targetName, 'appended');
  assert.equal((await client.get('link')).content.toString(), '123456789');
  await client.put('frozen', body(1), { headers: { 'x-oss-storage-class': 'Archive' } });
  await refused(() => client.get('frozen'), 'InvalidObjectState');
  assert.equal((await client.restore('frozen')).res.status, 202);
}

// fetch would resolve the name itself.
function fetchSigned(url, method = 'GET', content = null) {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method, agent, headers: content ? { 'content-length': content.length } : {} }, (answer) => {
      const pieces = [];
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('end', () => resolve({ status: answer.statusCode, content: Buffer.concat(pieces), headers: answer.headers }));
    });
    request.on('error', reject);
    request.end(content);
  });
}

async function presigned(client, _bucket, version, way) {
  // For an address the SDK presigns a URL whose host lacks the bucket; its users set a domain there.
  if (way === 'ip') return;
  const sign = (method, queries) =>
    version === 'v4' ? client.signatureUrlV4(method, 60, { queries }, 'signed 中 +') : client.signatureUrl('signed 中 +', { method, expires: 60, response: queries });
  const put = await fetchSigned(await sign('PUT'), 'PUT', Buffer.from('signed'));
  assert.equal(put.status, 200, put.content.toString());
  const url = await sign('GET');
  const got = await fetchSigned(url);
  assert.deepEqual([got.status, got.content.toString()], [200, 'signed']);
  const broken = new URL(url);
  broken.searchParams.set('extra', '1');
  broken.pathname += 'x';
  assert.equal((await fetchSigned(broken.href)).status, 403);
}

async function deletes(client, bucket) {
  await client.delete('streamed');
  await client.delete('streamed');
  const deleted = await client.deleteMulti(ODD_KEYS);
  assert.deepEqual(deleted.deleted.map((entry) => entry.Key), ODD_KEYS);
  await refused(() => client.deleteBucket(bucket), 'BucketNotEmpty');
  const rest = (await client.listV2({ 'max-keys': 1000 })).objects.map((object) => object.name);
  await client.deleteMulti(rest, { quiet: true });
  await client.deleteBucket(bucket);
  await refused(() => client.getBucketInfo(bucket), 'NoSuchBucket');
}

async function suite(version, way) {
  const bucket = way === 'cname' ? 'ali-oss-cname' : `ali-oss-${version}-${way}`;
  const client = open(bucket, version, way);
  if (way === 'path') assert.ok(Array.isArray((await client.listBuckets()).buckets ?? []));
  for (const step of [buckets, objects, attributes, rangesAndConditions, listing, copies, multipart, theRest, presigned, deletes]) {
    await step(client, bucket, version, way);
    console.log(`ok ${version} ${way} ${step.name}`);
  }
}

async function write(manifest) {
  const client = open(manifest.bucket, 'v4', 'virtual', { headerEncoding: 'latin1' });
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'ali-oss-'));
  for (const entry of manifest.objects) {
    const more = { mime: entry.content_type, meta: entry.metadata };
    if (entry.part_size === 0) {
      await client.put(entry.key, body(entry.size), more);
      continue;
    }
    const file = path.join(folder, 'file');
    fs.writeFileSync(file, body(entry.size));
    // By hand: multipartUpload repeats the metadata with the Complete, whose string body makes node encode the headers twice.
    const { uploadId } = await client.initMultipartUpload(entry.key, more);
    const parts = [];
    for (let at = 0; at < entry.size; at += entry.part_size) {
      const number = parts.length + 1;
      const part = await client.uploadPart(entry.key, uploadId, number, file, at, Math.min(at + entry.part_size, entry.size));
      parts.push({ number, etag: part.etag });
    }
    await client.completeMultipartUpload(entry.key, uploadId, parts);
  }
  fs.rmSync(folder, { recursive: true });
}

async function read(manifest) {
  const client = open(manifest.bucket, 'v4', 'virtual');
  const listed = Object.fromEntries((await client.listV2({ 'max-keys': 1000 })).objects.map((object) => [object.name, object.size]));
  assert.deepEqual(listed, Object.fromEntries(manifest.objects.map((entry) => [entry.key, entry.size])));
  for (const entry of manifest.objects) {
    const got = await client.get(entry.key);
    assert.ok(got.content.equals(body(entry.size)), entry.key);
    assert.equal(got.res.headers['content-type'], entry.content_type, entry.key);
    for (const [name, value] of Object.entries(entry.metadata)) {
      assert.equal(decoded(got.res.headers[`x-oss-meta-${name}`]), value, entry.key);
    }
  }
}

async function main([mode, ...rest]) {
  if (mode === 'suite') return suite(...rest);
  const manifest = JSON.parse(fs.readFileSync(rest[0], 'utf8'));
  await { write, read }[mode](manifest);
  console.log(`ok ${mode}`);
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
