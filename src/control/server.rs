// SPDX-License-Identifier: GPL-2.0-only
//! The answering end of the control socket: one connection at a time.
//!
//! One at a time is enough: a connection lives for one request and at most [`LINE_TIMEOUT`]. Where
//! others than root may look, a second thread answers them, so that nobody can keep root waiting by
//! asking slowly. The threads look at their stop flags every [`POLL`].

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender, TrySendError};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::protocol::{self, Reply, Request, MAX_LINE_BYTES};
use super::{ControlError, LINE_TIMEOUT};
use crate::socket::{self, SocketFile};

/// How long a wait for the peer may delay a stop.
const POLL: Duration = Duration::from_millis(100);
/// How many who may only look can wait for their answer.
const READERS: usize = 16;

/// A control socket being served; dropping it ends the service and removes the socket file.
pub struct ControlServer {
    dropped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Goes once the thread has ended.
    _file: SocketFile,
}

/// Listens at `path` and answers each request with what `handler` makes of it.
///
/// Root and the user who runs this may ask anything. With a `group`, its number, whoever is in it
/// may ask what changes nothing: the kernel lets nobody else connect.
///
/// The service ends within 100 ms of `stop` turning true. The handler's error is the sentence that
/// the client is shown.
pub fn serve<H>(
    path: &Path,
    group: Option<u32>,
    handler: H,
    stop: Arc<AtomicBool>,
) -> Result<ControlServer, ControlError>
where
    H: Fn(Request) -> Result<Reply, String> + Send + Sync + 'static,
{
    let owner = socket::owner();
    let (listener, file) = socket::listen(path, group)?;
    let dropped = Arc::new(AtomicBool::new(false));
    let flags = Stop {
        given: stop,
        dropped: dropped.clone(),
    };
    let thread = thread::Builder::new()
        .name("mpg_control".to_string())
        .spawn(move || match group {
            None => accept_loop(&listener, owner, None, &handler, &flags),
            Some(_) => thread::scope(|scope| {
                let (readers, waiting) = sync_channel(READERS);
                scope.spawn(|| answer_readers(waiting, &handler, &flags));
                accept_loop(&listener, owner, Some(readers), &handler, &flags);
            }),
        })
        .map_err(|e| ControlError::System("start the thread that serves", path.into(), e))?;
    Ok(ControlServer {
        dropped,
        thread: Some(thread),
        _file: file,
    })
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A handler that panicked has reported itself; the file goes all the same.
            let _ = thread.join();
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

fn accept_loop(
    listener: &UnixListener,
    owner: u32,
    readers: Option<SyncSender<UnixStream>>,
    handler: &impl Fn(Request) -> Result<Reply, String>,
    stop: &Stop,
) {
    while !stop.now() {
        if !readable_within(listener, POLL) {
            continue;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                note(match (peer_uid(&stream), &readers) {
                    (Ok(uid), _) if uid == 0 || uid == owner => answer(&stream, handler, stop),
                    (Ok(_), Some(readers)) => hand_over(stream, readers),
                    (Ok(uid), None) => refuse(&stream, &not_root(uid)),
                    (Err(e), _) => Err(e),
                });
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

fn hand_over(stream: UnixStream, readers: &SyncSender<UnixStream>) -> io::Result<()> {
    match readers.try_send(stream) {
        Err(TrySendError::Full(stream)) => refuse(&stream, "too many ask at once: try again"),
        // The other thread ends with this one.
        Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(()),
    }
}

/// Answers those who may look, not change.
fn answer_readers(
    waiting: Receiver<UnixStream>,
    handler: &impl Fn(Request) -> Result<Reply, String>,
    stop: &Stop,
) {
    for stream in waiting {
        if stop.now() {
            return;
        }
        let uid = peer_uid(&stream).unwrap_or(u32::MAX);
        let read_only = |request: Request| match request.is_reading() {
            true => handler(request),
            false => Err(not_root(uid)),
        };
        note(answer(&stream, &read_only, stop));
    }
}

fn answer(
    mut stream: &UnixStream,
    handler: &impl Fn(Request) -> Result<Reply, String>,
    stop: &Stop,
) -> io::Result<()> {
    // An accepted socket does not inherit the listener's non-blocking mode.
    stream.set_read_timeout(Some(POLL))?;
    stream.set_write_timeout(Some(LINE_TIMEOUT))?;
    let line = read_line(stream, stop)?;
    let response = line
        .and_then(|line| protocol::parse_request(&line))
        .and_then(handler);
    stream.write_all(protocol::encode_response(&response).as_bytes())
}

/// Answers without having read: the line is far smaller than a socket's buffer.
fn refuse(mut stream: &UnixStream, why: &str) -> io::Result<()> {
    stream.write_all(protocol::encode_response(&Err(why.to_string())).as_bytes())
}

fn not_root(uid: u32) -> String {
    format!("user {uid} may not control this scheduler: run the command as root")
}

fn note(answered: io::Result<()>) {
    if let Err(e) = answered {
        log::debug!("control: the peer went away: {e}");
    }
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
