//! The token that makes an owner: a file in the state directory.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::daemon::ledger;
use crate::error::{Error, ErrorKind, Result};

/// A token's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token([u8; 32]);

impl Token {
    /// Reads the token of a state directory, and makes it where there is none: 32 random bytes in hexadecimal digits, for this user alone.
    /// Blocks on the disk.
    pub fn of(state: &Path) -> Result<(Self, PathBuf)> {
        let path = state.join("token");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().to_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let text = random()?;
                ledger::replace(&path, format!("{text}\n").as_bytes())?;
                text
            }
            Err(e) => return Err(crate::journal::disk::failed(&path, "the token cannot be read", &e)),
        };
        if text.len() < 32 {
            return Err(
                Error::new(ErrorKind::Local, format!("{} holds no token of 32 characters or more", path.display())).advise("remove it: a new one is made")
            );
        }
        Ok((Self::new(&text), path))
    }

    /// Of this text.
    pub fn new(text: &str) -> Self {
        Self(Sha256::digest(text.as_bytes()).into())
    }

    /// Whether this text is it. Takes as long whether it is or not.
    pub fn is(&self, shown: &str) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(&self.0, &Self::new(shown).0).is_ok()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// 32 bytes that nobody can guess, in hexadecimal digits.
pub(super) fn random() -> Result<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::new(ErrorKind::Local, "this machine has no randomness to give"))?;
    Ok(hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_for_its_owner_alone() {
        let state = tempfile::tempdir().expect("a folder");
        let (token, path) = Token::of(state.path()).expect("made");
        let text = std::fs::read_to_string(&path).expect("there");
        assert_eq!((text.trim().len(), std::fs::metadata(&path).expect("there").permissions().mode() & 0o777), (64, 0o600));
        assert!(token.is(text.trim()) && !token.is("x"));
        assert_eq!(Token::of(state.path()).expect("read").0, token);
        std::fs::write(&path, "short").expect("written");
        assert!(Token::of(state.path()).expect_err("no token").to_string().contains("holds no token"));
    }
}
