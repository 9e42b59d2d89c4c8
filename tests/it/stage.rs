//! Two clouds in this process, an empty folder, and the binary in an environment that leads to them and holds nothing else.

use std::process::{Command, Output};

use dragon::clock::Clock;
use dragon::devserver::{DevServer, Options};
use dragon::storage::{oss, s3};

/// The S3 side's account, as a library user opens it.
pub(crate) async fn amazon(server: &DevServer) -> s3::S3Account {
    amazon_that_copies(server, None).await
}

/// The same, asked to copy no more bytes at once than that.
pub(crate) async fn amazon_that_copies(server: &DevServer, copy_bytes_max: Option<u64>) -> s3::S3Account {
    let options = s3::Options {
        endpoints: vec![server.s3_endpoint()],
        region: Some("us-east-1".into()),
        access_key_id: Some("dragon".into()),
        secret_access_key: Some("dragon-secret".into()),
        copy_bytes_max,
        ..s3::Options::default()
    };
    Box::pin(s3::S3Account::open(options, Clock::system())).await.expect("an account")
}

/// The OSS side's account.
pub(crate) fn alibaba(server: &DevServer) -> oss::OssAccount {
    alibaba_that_copies(server, None)
}

/// The same, asked to copy no more bytes at once than that.
pub(crate) fn alibaba_that_copies(server: &DevServer, copy_bytes_max: Option<u64>) -> oss::OssAccount {
    let credentials = oss::credentials::Options { access_key_id: Some("dragon".into()), access_key_secret: Some("dragon-secret".into()), ..Default::default() };
    let options = oss::Options { endpoints: vec![server.oss_endpoint()], credentials, copy_bytes_max, ..oss::Options::default() };
    oss::OssAccount::open_in(options, &oss::credentials::Environment::default(), Clock::system()).expect("an account")
}

/// What a black-box test plays on.
pub(crate) struct Stage {
    pub(crate) server: DevServer,
    pub(crate) folder: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Stage {
    /// Both clouds without a bucket.
    pub(crate) async fn empty() -> Self {
        Self::of(DevServer::start(Options::default()).await.expect("two clouds"))
    }

    /// These clouds.
    pub(crate) fn of(server: DevServer) -> Self {
        let texts =
            [("AWS_ACCESS_KEY_ID", "dragon"), ("AWS_SECRET_ACCESS_KEY", "dragon-secret"), ("AWS_REGION", "us-east-1"), ("AWS_EC2_METADATA_DISABLED", "true")];
        let more = [("OSS_ACCESS_KEY_ID", "dragon"), ("OSS_ACCESS_KEY_SECRET", "dragon-secret"), ("OSS_REGION", "cn-hangzhou")];
        let mut variables: Vec<_> = texts.into_iter().chain(more).map(|(name, value)| (name, value.to_owned())).collect();
        variables.extend([("AWS_ENDPOINT_URL", server.s3_endpoint()), ("OSS_ENDPOINT", server.oss_endpoint())]);
        Self { server, folder: tempfile::tempdir().expect("a folder"), variables }
    }

    /// The same clouds as seen with another value of a variable.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.retain(|(n, _)| *n != name);
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Puts a command into the folder and the stage's environment.
    pub(crate) fn prepare(&self, command: &mut Command) {
        command.current_dir(self.folder.path()).env_clear().env("HOME", self.folder.path()).envs(self.variables.iter().cloned());
    }

    /// Runs a command there.
    pub(crate) async fn output(&self, mut command: Command) -> Output {
        self.prepare(&mut command);
        tokio::task::spawn_blocking(move || command.output()).await.expect("a task").expect("the command runs")
    }

    /// Runs dragon: its exit status, and all that it printed.
    pub(crate) async fn dragon(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dragon"));
        command.args(arguments);
        let output = self.output(command).await;
        let printed = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().expect("an exit status"), printed)
    }
}
