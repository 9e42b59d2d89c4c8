//! `dragon demo`: all of it in a minute, with no account.
//!
//! Both clouds run in this process; what is shown is what a real run does, over HTTP and with signatures, and each step is held to what
//! it should have done: a demo that only looks right fails.

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};

use super::exit::{self, Failure, Outcome};
use super::human;
use super::progress::Watch;
use super::session::Session;
use crate::devserver::weather::{Effect, Fault};
use crate::devserver::{Cloud, DevServer, Options as ServerOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Metrics;
use crate::storage::location::Location;
use crate::storage::memory::MemoryStore;
use crate::storage::open::layered;
use crate::storage::{Account, Key, ObjectRef, Put, Storage, oss, retry, s3};
use crate::transfer::{self, Context, Job, Options, Report};

mod album;

/// Progress is shown as bars or not at all: the steps themselves tell the rest.
const STATS: Duration = Duration::ZERO;

/// The stage: two clouds, three buckets, and what was counted.
struct Stage<'a> {
    session: &'a Session,
    server: DevServer,
    metrics: Arc<Metrics>,
    /// The S3 bucket that is the original.
    photos: Location,
    /// Its mirror on OSS.
    mirror: Location,
    /// The mirror of the mirror, on S3 again.
    back: Location,
    steps: u32,
}

/// Shows all of it in a minute, with no account: both clouds run in this process, on loopback
#[derive(Debug, clap::Args)]
pub(super) struct Demo {}

impl Demo {
    /// Plays every step; fails where one did not do what it should have.
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let mut stage = Stage::set(session).await?;
        let outcome = stage.play().await;
        stage.server.shutdown().await;
        outcome
    }
}

impl<'a> Stage<'a> {
    async fn set(session: &'a Session) -> Result<Self> {
        let clock = session.clock.clone();
        let server = DevServer::start(ServerOptions { clock: clock.clone(), ..ServerOptions::default() }).await?;
        let keys = ServerOptions::default().credentials;
        let s3 = s3::Options {
            endpoints: vec![server.s3_endpoint()],
            region: Some("us-east-1".into()),
            access_key_id: Some(keys.access_key_id.clone()),
            secret_access_key: Some(keys.access_key_secret.clone()),
            ..s3::Options::default()
        };
        let oss = oss::Options {
            endpoints: vec![server.oss_endpoint()],
            region: Some("cn-hangzhou".into()),
            credentials: oss::credentials::Options {
                access_key_id: Some(keys.access_key_id),
                access_key_secret: Some(keys.access_key_secret),
                ..oss::credentials::Options::default()
            },
            ..oss::Options::default()
        };
        let (s3, oss) = (s3::S3Account::open(s3, clock.clone()).await?, oss::OssAccount::open(oss, clock.clone())?);
        let metrics = Arc::<Metrics>::default();
        let (photos, mirror, back) =
            (bucket(&s3, "photos", session, &metrics), bucket(&oss, "photos-cn", session, &metrics), bucket(&s3, "photos-back", session, &metrics));
        let (photos, mirror, back) = futures::try_join!(photos, mirror, back)?;
        Ok(Self { session, server, metrics, photos, mirror, back, steps: 0 })
    }

    async fn play(&mut self) -> Outcome {
        self.step(&format!("Two clouds on loopback: S3 at {}, OSS at {}", self.server.s3_endpoint(), self.server.oss_endpoint()))?;
        let objects = self.fill().await?;
        self.mirror_out(objects).await?;
        self.mirror_changes().await?;
        self.survive_a_flipped_bit().await?;
        self.refuse_to_empty().await?;
        self.mirror_back().await?;
        self.verify().await?;
        self.say("\nNext, the same with clouds of your own:\n    dragon doctor s3://YOUR-BUCKET oss://YOUR-BUCKET\nor stay on this machine:\n    dragon dev-server --help")?;
        Ok(exit::OK)
    }

    /// Fills the S3 bucket from memory, as an upload of a folder would.
    async fn fill(&mut self) -> Result<u64, Failure> {
        let album = MemoryStore::new("album");
        let (mut objects, mut bytes) = (0, 0);
        for object in album::objects() {
            (objects, bytes) = (objects + 1, bytes + object.bytes.len() as u64);
            let put = Put { attributes: object.attributes, ..Put::default() };
            album.put(&object.key, object.bytes.into(), put).await?;
        }
        let report =
            self.transfer("filling", Location::new(Arc::new(album), Key::EMPTY), self.photos.clone(), Options { stamp: false, ..Options::default() }).await?;
        expect(report.copied == objects, "every object was uploaded")?;
        self.step(&format!("Filled s3://photos with {objects} objects, {}; some with awkward names:", human::bytes(bytes)))?;
        self.say(&album::AWKWARD_KEYS.map(|key| format!("       {key}")).join("\n"))?;
        Ok(objects)
    }

    async fn mirror_out(&mut self, objects: u64) -> Result<(), Failure> {
        self.server.reset_traffic();
        let report = self.transfer("S3 -> OSS", self.photos.clone(), self.mirror.clone(), Options::default()).await?;
        expect(report.copied == objects && report.verified == objects, "every object was copied and proved")?;
        let requests = self.server.traffic(Cloud::S3).requests() + self.server.traffic(Cloud::Oss).requests();
        self.step(&format!("sync s3://photos -> oss://photos-cn: {}", told(&report)))?;
        self.say(&format!(
            "       {requests} requests, {:.2} an object; each byte was checked against both clouds' own CRC-64",
            requests as f64 / objects as f64
        ))?;
        let again = self.transfer("again", self.photos.clone(), self.mirror.clone(), Options::default()).await?;
        expect(again.copied == 0 && again.skipped == objects, "a second run finds nothing to do")?;
        self.step(&format!("sync again: {} unchanged in {:.1} s, no byte moved", again.skipped, again.seconds))?;
        Ok(())
    }

    /// Changes some objects, adds some, deletes some, and mirrors that.
    async fn mirror_changes(&mut self) -> Result<(), Failure> {
        let changes = album::changes();
        let photos = &self.photos.storage;
        stream::iter(&changes.written)
            .map(|(key, bytes)| photos.put(key, bytes.clone().into(), Put::default()))
            .buffer_unordered(16)
            .try_for_each(|_| std::future::ready(Ok(())))
            .await?;
        let gone: Vec<_> = photos.delete(stream::iter(changes.deleted.clone().into_iter().map(ObjectRef::from)).boxed()).collect().await;
        gone.into_iter().try_for_each(|(_, deleted)| deleted.map(drop))?;
        let options = Options { delete: true, ..Options::default() };
        let report = self.transfer("changes", self.photos.clone(), self.mirror.clone(), options).await?;
        let (written, deleted) = (changes.written.len() as u64, changes.deleted.len() as u64);
        expect(report.copied == written && report.deleted == deleted, "exactly the changes were carried over")?;
        self.step(&format!("Changed or added {written} objects and deleted {deleted}; sync --delete: {}, {} deleted", told(&report), report.deleted))?;
        Ok(())
    }

    /// Damages a byte on the wire, and shows that it is noticed and healed.
    async fn survive_a_flipped_bit(&mut self) -> Result<(), Failure> {
        let key = Key::from(album::DAMAGED_KEY);
        self.photos.storage.put(&key, vec![b'x'; 4000].into(), Put::default()).await?;
        self.server.inject(Fault::new(Effect::FlipAnswerByte(1234)).on(Cloud::S3).operation("GetObject").path(album::DAMAGED_KEY));
        let report = self.transfer("damage", self.photos.clone(), self.mirror.clone(), Options::default()).await?;
        expect(report.copied == 1 && report.retries > 0 && report.verified == 1, "the damage was noticed and healed")?;
        self.step("Flipped a bit of a photo on its way: the checksums did not match, it was read again, and the copy is proved")?;
        Ok(())
    }

    /// Points `--delete` at an empty source, which is how mirrors are lost.
    async fn refuse_to_empty(&mut self) -> Result<(), Failure> {
        let options = Options { delete: true, ..Options::default() };
        let report = self.transfer("empty", Location::new(Arc::new(MemoryStore::new("nothing")), Key::EMPTY), self.mirror.clone(), options).await?;
        expect(report.refused.is_some() && report.deleted == 0, "an empty source deletes nothing")?;
        self.step("sync --delete from an empty source: refused, nothing was deleted (exit status 5)")?;
        Ok(())
    }

    async fn mirror_back(&mut self) -> Result<(), Failure> {
        let report = self.transfer("OSS -> S3", self.mirror.clone(), self.back.clone(), Options::default()).await?;
        expect(report.failed == 0 && report.copied == report.verified, "the way back is proved too")?;
        self.step(&format!("sync oss://photos-cn -> s3://photos-back: {}", told(&report)))?;
        Ok(())
    }

    async fn verify(&mut self) -> Result<(), Failure> {
        let watch = Watch::start(&self.session.output, Arc::default(), self.metrics.clone(), STATS, self.session.clock.clone())?;
        let report = transfer::verify(Job::new(self.photos.clone(), self.back.clone()), true, self.context()).await;
        watch.stop().await;
        let report = report?;
        expect(report.exit_code() == exit::OK && report.verified > 0, "the original and the mirror of the mirror are the same")?;
        self.step(&format!("verify --deep s3://photos s3://photos-back: {} objects read at both ends, all the same", report.verified))?;
        Ok(())
    }

    fn context(&self) -> Context {
        Context { clock: self.session.clock.clone(), cancel: self.session.cancel.clone(), ..Context::default() }
    }

    /// Runs one sync with its progress, and fails where an object did.
    async fn transfer(&self, what: &str, source: Location, destination: Location, options: Options) -> Result<Report> {
        let context = self.context();
        tracing::debug!(what, "demo transfer begins");
        let before = self.metrics.retries.get();
        let watch = Watch::start(&self.session.output, context.progress.clone(), self.metrics.clone(), STATS, context.clock.clone())?;
        let report = transfer::run(Job { source, destination, options }, context).await;
        watch.stop().await;
        let mut report = report?;
        report.retries += self.metrics.retries.get() - before;
        match report.stopped.take() {
            Some(error) => Err(error),
            None if report.interrupted => Err(Error::new(ErrorKind::Interrupted, "the demo was interrupted")),
            None if report.failed > 0 => Err(Error::new(ErrorKind::Unexpected, format!("{} objects failed", report.failed))),
            None => Ok(report),
        }
    }

    fn step(&mut self, text: &str) -> Result<(), Failure> {
        self.steps += 1;
        self.say(&format!("{:3}. {text}", self.steps))
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        self.session.output.line(text)?;
        self.session.output.flush()
    }
}

/// Makes a bucket and opens it as Dragon uses stores.
async fn bucket(account: &dyn Account, name: &str, session: &Session, metrics: &Arc<Metrics>) -> Result<Location> {
    account.create_bucket(name).await?;
    let storage = layered(account.bucket(name)?, retry::Options::default(), session.clock.clone(), metrics.clone());
    Ok(Location::new(storage, Key::EMPTY))
}

/// A report in one line.
fn told(report: &Report) -> String {
    format!("{} copied, {} proved, {} in {:.1} s", report.copied, report.verified, human::bytes(report.bytes), report.seconds)
}

/// Holds a step to what it should have done.
fn expect(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::new(ErrorKind::Unexpected, format!("the demo did not do what it should: {what}")).advise("please report this")) }
}
