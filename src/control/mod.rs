// SPDX-License-Identifier: GPL-2.0-only
//! The control socket: how a running scheduler is asked and told while it stays loaded.
//!
//! Root alone may change anything: the socket is root's with mode 0600, and the server asks the
//! kernel who is at the other end of each connection. It can be opened to a group for reading. A
//! connection carries one request, and ends with the answer, but for a watch: that lasts for as long
//! as its connection.

mod client;
mod protocol;
mod server;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use client::{hold, request};
pub use protocol::{Change, Reply, Request, Watch, Watching};
pub use server::{serve, Answer, Peer};

use crate::socket::SocketError;

/// Where the daemon listens.
pub const SOCKET_PATH: &str = "/run/scx_mpg/control.sock";
/// A peer that has not sent or taken its line by then is hung up on.
const LINE_TIMEOUT: Duration = Duration::from_secs(2);

/// Why the control socket cannot be served or used. Its text is one sentence for the user.
#[derive(Debug)]
pub enum ControlError {
    /// Nothing listens at the path.
    NotRunning(PathBuf),
    /// Nothing can be served there.
    Socket(SocketError),
    /// The caller may not use the socket.
    NotPermitted(PathBuf),
    /// No answer came in time.
    Silent(PathBuf),
    /// The answer was not one.
    BadAnswer(String),
    /// The daemon refused, and says why.
    Refused(String),
    /// The system refused something.
    System(&'static str, PathBuf, io::Error),
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning(path) => write!(
                f,
                "no scx_mpg is running (nothing answers at {}): start it with `scx_mpg`",
                path.display()
            ),
            Self::Socket(why) => write!(f, "{why}"),
            Self::NotPermitted(path) => write!(
                f,
                "the control socket {} answers to root alone: run the command as root, for \
                 example with sudo",
                path.display()
            ),
            Self::Silent(path) => write!(
                f,
                "the scx_mpg at {} did not answer in {} seconds: look at its log, or restart it",
                path.display(),
                LINE_TIMEOUT.as_secs()
            ),
            Self::BadAnswer(why) => {
                write!(
                    f,
                    "{why}: is the running scx_mpg of the same release as this command?"
                )
            }
            Self::Refused(why) => write!(f, "{why}"),
            Self::System(what, path, cause) => {
                write!(f, "cannot {what} {}: {cause}", path.display())
            }
        }
    }
}

impl std::error::Error for ControlError {}

impl From<SocketError> for ControlError {
    fn from(why: SocketError) -> Self {
        Self::Socket(why)
    }
}
