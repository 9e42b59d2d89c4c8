//! Credentials that a command prints.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;

use super::{Credentials, Source, from_json, refuse};
use crate::error::Result;

/// Longest time that the command may run: a person may have to touch a key.
const RUN_MAX: Duration = Duration::from_secs(60);

/// A command line for `sh -c`.
pub(super) struct Process(pub(super) String);

/// The command line may hold a secret.
impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Process")
    }
}

#[async_trait]
impl Source for Process {
    async fn fetch(&self) -> Result<Credentials> {
        let whom = "the credential process";
        let mut command = tokio::process::Command::new("sh");
        command.arg("-c").arg(&self.0).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
        let output = tokio::time::timeout(RUN_MAX, command.output())
            .await
            .map_err(|_| refuse(format!("{whom} did not end within {RUN_MAX:?}")))?
            .map_err(|e| refuse(format!("{whom} cannot be started")).caused_by(e))?;
        if !output.status.success() {
            return Err(refuse(format!("{whom} failed: {}", output.status)));
        }
        let json = serde_json::from_slice(&output.stdout).map_err(|_| refuse(format!("{whom} printed something that is not JSON")))?;
        from_json(&json, whom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_command_prints_a_key_or_fails_by_name() {
        let run = |command: &str| {
            let process = Process(command.to_owned());
            async move { process.fetch().await }
        };
        let key = run(r#"echo '{"AccessKeyId":"a","AccessKeySecret":"b","SecurityToken":"c","Expiration":"2030-01-01T00:00:00Z"}'"#).await.expect("a key");
        assert_eq!((key.access_key_id(), key.security_token()), ("a", Some("c")));
        assert!(key.expires().is_some());
        for (bad, word) in [("exit 3", "failed"), ("echo secret", "not JSON"), ("echo '{}'", "AccessKeyId")] {
            let e = run(bad).await.expect_err(bad);
            assert!(e.message().contains(word) && !e.to_string().contains("secret\n"), "{e}");
        }
    }
}
