// SPDX-License-Identifier: GPL-2.0-only
//! The asking end of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::protocol::{self, Reply, Request, MAX_LINE_BYTES};
use super::{ControlError, LINE_TIMEOUT};

/// Asks the daemon that listens at `path` and waits for its answer.
pub fn request(path: &Path, request: &Request) -> Result<Reply, ControlError> {
    hold(path, request).map(|(reply, _)| reply)
}

/// As [`request`], and keeps the connection, for what lasts as long as that does.
pub fn hold<T: DeserializeOwned>(
    path: &Path,
    request: &Request,
) -> Result<(T, UnixStream), ControlError> {
    let failed = |e: io::Error| explain(path, e);
    let stream = UnixStream::connect(path).map_err(failed)?;
    stream
        .set_read_timeout(Some(LINE_TIMEOUT))
        .map_err(failed)?;
    stream
        .set_write_timeout(Some(LINE_TIMEOUT))
        .map_err(failed)?;

    // A server that refuses the peer hangs up without reading, and its sentence can still be read.
    let sent = (&stream).write_all(protocol::encode_request(request).as_bytes());
    let mut line = Vec::new();
    let read = BufReader::new((&stream).take(MAX_LINE_BYTES as u64)).read_until(b'\n', &mut line);
    if line.is_empty() {
        sent.and(read).map_err(failed)?;
        return Err(ControlError::BadAnswer(format!(
            "the daemon at {} hung up without an answer",
            path.display()
        )));
    }
    match protocol::parse_response(&line) {
        Ok(answer) => Ok((answer.map_err(ControlError::Refused)?, stream)),
        Err(why) => Err(ControlError::BadAnswer(why)),
    }
}

fn explain(path: &Path, error: io::Error) -> ControlError {
    let path = path.to_path_buf();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ControlError::NotRunning(path)
        }
        io::ErrorKind::PermissionDenied => ControlError::NotPermitted(path),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ControlError::Silent(path),
        _ => ControlError::System("speak to the scx_mpg at", path, error),
    }
}
