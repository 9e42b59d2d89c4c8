//! A TUN device in a namespace: packets that the kernel sends into it are read here, and what is written here it receives.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::sched::{CloneFlags, setns};

/// Longest name of a network device, with the zero behind it.
const NAME_BYTES: usize = 16;
/// `struct ifreq` of Linux: a name, and here flags.
const REQUEST_BYTES: usize = 40;
/// Of linux/if_tun.h: whole IP packets, with nothing before them.
const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;

/// TUNSETIFF, the one call that no safe wrapper has.
#[allow(unsafe_code, reason = "an ioctl on a structure of our own, whose size is the kernel's")]
mod ioctl {
    nix::ioctl_write_ptr_bad!(tun_set_iff, nix::request_code_write!(b'T', 202, size_of::<std::ffi::c_int>()), [u8; super::REQUEST_BYTES]);

    /// Makes the device that the request names, and ties it to the file.
    pub(super) fn make(file: std::os::fd::RawFd, request: &[u8; super::REQUEST_BYTES]) -> nix::Result<()> {
        // SAFETY: the kernel reads 40 bytes, which the reference covers, and keeps no pointer.
        unsafe { tun_set_iff(file, request) }.map(|_| ())
    }
}

/// Makes a device in the namespace of this name. It goes when the file is closed.
pub(super) fn open(namespace: &str, device: &str) -> io::Result<File> {
    let (namespace, device) = (namespace.to_owned(), device.to_owned());
    // A thread of its own enters the namespace, and ends in it.
    let opened = std::thread::spawn(move || -> io::Result<File> {
        setns(File::open(format!("/run/netns/{namespace}"))?, CloneFlags::CLONE_NEWNET)?;
        let file = File::options().read(true).write(true).open("/dev/net/tun")?;
        let mut request = [0; REQUEST_BYTES];
        request[..device.len().min(NAME_BYTES - 1)].copy_from_slice(&device.as_bytes()[..device.len().min(NAME_BYTES - 1)]);
        request[NAME_BYTES..NAME_BYTES + 2].copy_from_slice(&(IFF_TUN | IFF_NO_PI).to_ne_bytes());
        ioctl::make(file.as_raw_fd(), &request)?;
        Ok(file)
    });
    opened.join().map_err(|_| io::Error::other("opening a TUN device panicked"))?
}
