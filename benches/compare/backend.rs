//! What serves a workload: the lean server, or a real one (`dragon dev-server`), which stores bytes and checks signatures.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::peer::Invocation;
use crate::run::SERVER_CORE;
use crate::service::{self, Report, Service, Target};
use crate::workload::{Server, Task, Workload};

/// A server with what a workload reads, and an empty target.
pub(crate) struct Backend {
    service: Service,
    /// Dragon's binary, where the server is the real one: it empties and compares its buckets.
    dragon: Option<std::path::PathBuf>,
}

impl Backend {
    /// Starts the workload's server on its core. `certificate` is where it writes what clients must trust, where it speaks https.
    pub(crate) fn start(workload: &Workload, dragon: &Path, certificate: Option<&Path>) -> io::Result<Self> {
        let core = SERVER_CORE.to_string();
        let mut lean = workload.server_arguments();
        lean.extend(["--core".to_owned(), core.clone()]);
        lean.extend(certificate.iter().flat_map(|file| ["--tls".to_owned(), file.display().to_string()]));
        let lean = Service::role(lean)?;
        if workload.server == Server::Lean {
            return Ok(Self { service: lean, dragon: None });
        }
        let own = std::env::current_exe()?;
        let mut command = Command::new(own);
        command.args(["pinned", "--core", &core, "--"]).arg(dragon).args(["dev-server", "--s3-listen", "127.0.0.1:0", "--oss-listen", "127.0.0.1:0"]);
        let real = Self { service: Service::start(command.stderr(Stdio::null()))?, dragon: Some(dragon.to_owned()) };
        let target = workload.target();
        for bucket in ["s3://source".to_owned(), format!("s3://{target}"), format!("oss://{target}")] {
            real.command(dragon, real.service.ready("s3"), ["mb", &bucket])?;
        }
        // The lean server's objects, over its OSS port, into the real source; and into the mirror, where nothing shall be left to do.
        let fill = |from: &str, to: &str| {
            let invocation = Invocation::dragon(dragon, real.service.ready("s3"), lean.ready("oss"));
            succeed(&invocation.with(["sync", from, to, "--quiet", "--state-dir", "none"]))
        };
        fill("oss://source/", "s3://source/")?;
        if workload.task != Task::Copy {
            real.command(dragon, real.service.ready("s3"), ["sync", "s3://source/", &format!("oss://{target}/"), "--quiet", "--state-dir", "none"])?;
        }
        Ok(real)
    }

    pub(crate) fn s3(&self) -> &str {
        self.service.ready("s3")
    }

    pub(crate) fn oss(&self) -> &str {
        self.service.ready("oss")
    }

    /// Empties the target, where the workload fills it.
    pub(crate) fn reset(&self, workload: &Workload) -> io::Result<()> {
        let Some(dragon) = &self.dragon else { return service::reset(&self.service) };
        if workload.task != Task::Copy {
            return Ok(());
        }
        ["s3", "oss"].into_iter().try_for_each(|store| {
            let target = format!("{store}://{}/", workload.target());
            self.command(dragon, self.s3(), ["rm", "-r", "--force", &target])
        })
    }

    /// What the server counted and how the target compares with the source. The real server counts nothing, and Dragon compares.
    pub(crate) fn report(&self, workload: &Workload, store: &str) -> io::Result<Report> {
        let Some(dragon) = &self.dragon else { return service::report(&self.service, workload.target()) };
        let target = format!("{store}://{}/", workload.target());
        let same = self.command(dragon, self.s3(), ["verify", "s3://source/", &target, "--quiet"]).is_ok();
        let different = if same { 0 } else { workload.objects };
        Ok(Report { target: Target { objects: workload.objects, same: workload.objects - different, different, ..Target::default() }, ..Report::default() })
    }

    fn command<const N: usize>(&self, dragon: &Path, s3: &str, arguments: [&str; N]) -> io::Result<()> {
        succeed(&Invocation::dragon(dragon, s3, self.oss()).with(arguments))
    }
}

fn succeed(Invocation { command, environment }: &Invocation) -> io::Result<()> {
    let (program, arguments) = command.split_first().ok_or_else(|| io::Error::other("nothing to run"))?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr))))
}
