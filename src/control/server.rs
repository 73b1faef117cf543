// SPDX-License-Identifier: GPL-2.0-only
//! The answering end of the control socket: one thread, one connection at a time.
//!
//! One at a time is enough: a connection lives for one request and at most [`LINE_TIMEOUT`], and
//! only root can make one. The thread looks at its stop flags every [`POLL`].

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::protocol::{self, Reply, Request, MAX_LINE_BYTES};
use super::{ControlError, LINE_TIMEOUT};

/// How long a wait for the peer may delay a stop.
const POLL: Duration = Duration::from_millis(100);

/// A control socket being served; dropping it ends the service and removes the socket file.
pub struct ControlServer {
    path: PathBuf,
    /// Device and inode of the socket file: a successor's file at the path is not ours to remove.
    file: (u64, u64),
    dropped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Listens at `path` and answers each request with what `handler` makes of it.
///
/// The service ends within 100 ms of `stop` turning true. The handler's error is the sentence that
/// the client is shown.
pub fn serve<H>(
    path: &Path,
    handler: H,
    stop: Arc<AtomicBool>,
) -> Result<ControlServer, ControlError>
where
    H: Fn(Request) -> Result<Reply, String> + Send + Sync + 'static,
{
    // SAFETY: geteuid takes nothing, cannot fail and touches no memory of ours.
    let owner = unsafe { libc::geteuid() };
    prepare_directory(path, owner)?;
    let (listener, file) = bind(path)?;
    let dropped = Arc::new(AtomicBool::new(false));
    let flags = Stop {
        given: stop,
        dropped: dropped.clone(),
    };
    let thread = thread::Builder::new()
        .name("mpg_control".to_string())
        .spawn(move || accept_loop(&listener, owner, &handler, &flags))
        .map_err(|e| ControlError::System("start the thread that serves", path.into(), e))?;
    Ok(ControlServer {
        path: path.to_path_buf(),
        file,
        dropped,
        thread: Some(thread),
    })
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A handler that panicked has reported itself; the file goes all the same.
            let _ = thread.join();
        }
        if fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

struct Stop {
    given: Arc<AtomicBool>,
    dropped: Arc<AtomicBool>,
}

impl Stop {
    fn now(&self) -> bool {
        self.given.load(Ordering::Relaxed) || self.dropped.load(Ordering::Relaxed)
    }
}

/// Makes the socket's directory, or checks that nobody else can swap the socket in it.
fn prepare_directory(path: &Path, owner: u32) -> Result<(), ControlError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let failed = |e| ControlError::System("create the directory", dir.into(), e);
    match DirBuilder::new().mode(0o755).create(dir) {
        // The mode asked for is cut by the umask.
        Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o755)).map_err(failed),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let meta = fs::symlink_metadata(dir).map_err(failed)?;
            if meta.is_dir() && meta.uid() == owner && meta.mode() & 0o022 == 0 {
                Ok(())
            } else {
                Err(ControlError::UnsafeDirectory(dir.into()))
            }
        }
        Err(e) => Err(failed(e)),
    }
}

/// Puts a listening socket at `path` unless a live one is there.
///
/// It is made beside the path and moved there with its mode set: it is never open to others.
fn bind(path: &Path) -> Result<(UnixListener, (u64, u64)), ControlError> {
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(ControlError::NotASocket(path.into()));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(ControlError::InUse(path.into())),
        _ => {}
    }
    let failed = |e| ControlError::System("listen at", path.into(), e);
    let beside = path.with_extension(format!("{}", std::process::id()));
    let _ = fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    let placed = (|| {
        fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let meta = fs::symlink_metadata(&beside)?;
        fs::rename(&beside, path)?;
        Ok((meta.dev(), meta.ino()))
    })();
    match placed {
        Ok(file) => Ok((listener, file)),
        Err(e) => {
            let _ = fs::remove_file(&beside);
            Err(failed(e))
        }
    }
}

fn accept_loop(
    listener: &UnixListener,
    owner: u32,
    handler: &impl Fn(Request) -> Result<Reply, String>,
    stop: &Stop,
) {
    while !stop.now() {
        if !readable_within(listener, POLL) {
            continue;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                if let Err(e) = answer(&stream, owner, handler, stop) {
                    log::debug!("control: the peer went away: {e}");
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => {
                // Out of descriptors, say: the next try may do better, but not at once.
                log::warn!("control: cannot accept: {e}");
                thread::sleep(POLL);
            }
        }
    }
}

fn answer(
    mut stream: &UnixStream,
    owner: u32,
    handler: &impl Fn(Request) -> Result<Reply, String>,
    stop: &Stop,
) -> io::Result<()> {
    // An accepted socket does not inherit the listener's non-blocking mode.
    stream.set_read_timeout(Some(POLL))?;
    stream.set_write_timeout(Some(LINE_TIMEOUT))?;
    let response = match peer_uid(stream)? {
        uid if uid == 0 || uid == owner => match read_line(stream, stop)? {
            Ok(line) => protocol::parse_request(&line).and_then(handler),
            Err(sentence) => Err(sentence),
        },
        uid => Err(format!(
            "user {uid} may not control this scheduler: run the command as root"
        )),
    };
    stream.write_all(protocol::encode_response(&response).as_bytes())
}

/// The bytes up to the first newline or the peer's end of file; the inner error is a sentence.
fn read_line(mut stream: &UnixStream, stop: &Stop) -> io::Result<Result<Vec<u8>, String>> {
    let deadline = Instant::now() + LINE_TIMEOUT;
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(Ok(line)),
            Ok(n) => {
                let end = chunk[..n].iter().position(|&b| b == b'\n');
                line.extend_from_slice(&chunk[..end.unwrap_or(n)]);
                if line.len() >= MAX_LINE_BYTES {
                    return Ok(Err(format!(
                        "the request is longer than {MAX_LINE_BYTES} bytes"
                    )));
                }
                if end.is_some() {
                    return Ok(Ok(line));
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        if stop.now() {
            return Ok(Err("the scheduler is stopping".to_string()));
        }
        if Instant::now() >= deadline {
            let seconds = LINE_TIMEOUT.as_secs();
            return Ok(Err(format!(
                "no whole request came within {seconds} seconds"
            )));
        }
    }
}

fn readable_within(listener: &UnixListener, timeout: Duration) -> bool {
    let mut fd = libc::pollfd {
        fd: listener.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `fd` is one valid pollfd, as the count says, and outlives the call.
    let ready = unsafe { libc::poll(&mut fd, 1, timeout.as_millis() as libc::c_int) };
    ready > 0
}

/// The user at the other end, as the kernel noted it when the connection was made.
fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    let mut peer = libc::ucred {
        pid: 0,
        uid: u32::MAX,
        gid: u32::MAX,
    };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the pointer is to a ucred and `len` is its size; both outlive the call.
    let rc = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &mut len,
        )
    };
    if rc == 0 {
        Ok(peer.uid)
    } else {
        Err(io::Error::last_os_error())
    }
}
