//! Asks a person before something that cannot be undone.

use std::io::{BufRead, IsTerminal, Write};

use crate::error::Error;

use super::exit::Failure;

/// Asks; without anybody to answer, and for any answer but yes, fails with what else would do.
pub(super) fn confirm(question: &str, nobody: &str, advice: &str) -> Result<(), Failure> {
    let refused = |message: &str| Err(Error::invalid(message).advise(advice).into());
    if !std::io::stdin().is_terminal() {
        return refused(nobody);
    }
    let mut err = std::io::stderr();
    write!(err, "{question} [y/N] ").and_then(|()| err.flush())?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { refused("nothing more was done") }
}
