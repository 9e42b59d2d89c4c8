//! Congestion control: whether this user's connections may use BBR, which long lossy roads need (performance.md section 4).

use crate::cli::exit::Failure;

use super::findings::Findings;

const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";
const ALLOWED: &str = "/proc/sys/net/ipv4/tcp_allowed_congestion_control";

/// Tells whether BBR can be used, and what an administrator types where it cannot.
pub(super) fn examine(findings: &mut Findings<'_>) -> Result<(), Failure> {
    if !cfg!(target_os = "linux") {
        return findings.fine("congestion control", "this is not Linux: the system chooses it");
    }
    // Some containers hide one or both.
    let [available, allowed] = [AVAILABLE, ALLOWED].map(|file| std::fs::read_to_string(file).unwrap_or_default());
    match remedy(&available, &allowed, is_granted()) {
        None => findings.fine("congestion control", "BBR can be used, and Dragon asks for it on every connection"),
        Some(remedy) => findings.warn("congestion control", remedy),
    }
}

/// Whether the kernel lets a socket of this user have BBR: the one test that knows of modules, namespaces and capabilities.
#[cfg(target_os = "linux")]
fn is_granted() -> bool {
    tokio::net::TcpSocket::new_v4().is_ok_and(|socket| rustix::net::sockopt::set_tcp_congestion(&socket, "bbr").is_ok())
}

#[cfg(not(target_os = "linux"))]
fn is_granted() -> bool {
    false
}

/// What is missing, and the lines that mend it. `None` where nothing is.
fn remedy(available: &str, allowed: &str, granted: bool) -> Option<String> {
    let has_bbr = |list: &str| list.split_whitespace().any(|name| name == "bbr");
    if granted {
        return None;
    }
    let mut steps = Vec::new();
    if !has_bbr(available) {
        steps.push("echo tcp_bbr > /etc/modules-load.d/bbr.conf && modprobe tcp_bbr".to_owned());
    }
    if !has_bbr(allowed) {
        let others = if allowed.trim().is_empty() { "reno cubic" } else { allowed.trim() };
        steps.push(format!("echo 'net.ipv4.tcp_allowed_congestion_control = {others} bbr' > /etc/sysctl.d/90-dragon.conf && sysctl --system"));
    }
    let state = match (has_bbr(available), has_bbr(allowed)) {
        (false, _) => "the kernel has not loaded BBR",
        (true, false) => "the kernel has BBR but forbids it to this user",
        (true, true) => "the kernel has BBR, and refuses it all the same (a container, perhaps)",
    };
    let mend = if steps.is_empty() { String::new() } else { format!("; as root: {}", steps.join("; ")) };
    Some(format!("{state}: a long road that loses packets carries far less without it{mend}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_what_is_typed() {
        assert_eq!(remedy("reno cubic", "reno cubic", true), None);
        let unloaded = remedy("reno cubic\n", "reno cubic\n", false).expect("a remedy");
        assert!(unloaded.contains("modprobe tcp_bbr") && unloaded.contains("= reno cubic bbr'"), "{unloaded}");
        let forbidden = remedy("reno bbr cubic", "reno cubic", false).expect("a remedy");
        assert!(!forbidden.contains("modprobe") && forbidden.contains("sysctl --system"), "{forbidden}");
        assert!(remedy("bbr", "bbr", false).expect("said").contains("all the same"));
    }
}
