// SPDX-License-Identifier: GPL-2.0-only
//! The answering end of the control socket: one connection at a time.
//!
//! One at a time is enough: a connection lives for one request and at most [`LINE_TIMEOUT`]. Where
//! others than root may look, a second thread answers them, so that nobody can keep root waiting by
//! asking slowly. What lasts as long as its connection is handed over to a thread of its own. While
//! nobody is connected nothing here wakes up; threads that serve somebody look at their stop flags
//! every [`POLL`].

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{sync_channel, Receiver, SyncSender, TrySendError};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{shutdown, Shutdown};

use super::protocol::{self, Reply, Request, Watching, MAX_LINE_BYTES};
use super::{ControlError, LINE_TIMEOUT};
use crate::socket::{self, SocketFile};

/// How long a wait for the peer may delay a stop.
const POLL: Duration = Duration::from_millis(100);
/// The same as poll(2) wants it.
const READ_POLL: u16 = POLL.as_millis() as u16;
/// How many who may only look can wait for their answer.
const READERS: usize = 16;
/// Stack of a thread that holds a connection: locked in memory, and it does next to nothing.
const HOLDER_STACK_BYTES: usize = 64 * 1024;

/// Who is at the other end of a connection, as the kernel noted it when that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The user.
    pub uid: u32,
    /// The process.
    pub pid: i32,
}

/// What a request is answered with.
pub enum Answer {
    /// The settings; the connection ends with it.
    Settings(Reply),
    /// What lasts until the connection ends, or the service does: then the second part is dropped.
    Watching(Watching, Box<dyn Send>),
}

/// A control socket being served; dropping it ends the service and removes the socket file.
pub struct ControlServer {
    dropped: Arc<AtomicBool>,
    /// The listening socket: to shut it down ends the wait for who connects.
    ender: UnixListener,
    thread: Option<JoinHandle<()>>,
    /// Goes once the thread has ended.
    _file: SocketFile,
}

/// Listens at `path` and answers each request with what `handler` makes of it.
///
/// Root and the user who runs this may ask anything. With a `group`, its number, whoever is in it
/// may ask what changes nothing: the kernel lets nobody else connect.
///
/// The service ends when it is dropped; from `stop` turning true on, who asks is waited for 100 ms at most. The handler's error is the sentence that
/// the client is shown.
pub fn serve<H>(
    path: &Path,
    group: Option<u32>,
    handler: H,
    stop: Arc<AtomicBool>,
) -> Result<ControlServer, ControlError>
where
    H: Fn(Request, Peer) -> Result<Answer, String> + Send + Sync + 'static,
{
    let owner = socket::owner();
    let (listener, file) = socket::listen(path, group)?;
    let system = |what| move |e| ControlError::System(what, path.into(), e);
    let ender = listener.try_clone().map_err(system("keep the socket"))?;
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
        .map_err(system("start the thread that serves"))?;
    Ok(ControlServer {
        dropped,
        ender,
        thread: Some(thread),
        _file: file,
    })
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::Relaxed);
        shut(&self.ender);
        if let Some(thread) = self.thread.take() {
            // A handler that panicked has reported itself; the file goes all the same.
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
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
    handler: &impl Fn(Request, Peer) -> Result<Answer, String>,
    stop: &Stop,
) {
    loop {
        // Until somebody connects, or the end of the service ends the wait.
        readable_within(listener, PollTimeout::NONE);
        if stop.now() {
            // Whoever asks from here on is refused, and does not wait for an answer.
            shut(listener);
            return;
        }
        match listener.accept() {
            Ok((stream, _)) => {
                note(match (peer(&stream), &readers) {
                    (Ok(peer), _) if peer.uid == 0 || peer.uid == owner => {
                        answer(&stream, peer, handler, stop)
                    }
                    (Ok(_), Some(readers)) => hand_over(stream, readers),
                    (Ok(peer), None) => refuse(&stream, &not_root(peer.uid)),
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

/// Ends the wait for who connects. It fails for a socket that does not listen only.
fn shut(listener: &UnixListener) {
    let _ = shutdown(listener.as_raw_fd(), Shutdown::Both);
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
    handler: &impl Fn(Request, Peer) -> Result<Answer, String>,
    stop: &Stop,
) {
    for stream in waiting {
        if stop.now() {
            return;
        }
        let read_only = |request: Request, peer: Peer| match request.is_reading() {
            true => handler(request, peer),
            false => Err(not_root(peer.uid)),
        };
        note(peer(&stream).and_then(|peer| answer(&stream, peer, &read_only, stop)));
    }
}

fn answer(
    mut stream: &UnixStream,
    peer: Peer,
    handler: &impl Fn(Request, Peer) -> Result<Answer, String>,
    stop: &Stop,
) -> io::Result<()> {
    // An accepted socket does not inherit the listener's non-blocking mode.
    stream.set_read_timeout(Some(POLL))?;
    stream.set_write_timeout(Some(LINE_TIMEOUT))?;
    let line = read_line(stream, stop)?;
    let answer = line
        .and_then(|line| protocol::parse_request(&line))
        .and_then(|request| handler(request, peer));
    let (response, held) = match answer {
        Ok(Answer::Settings(reply)) => (protocol::encode_response(&Ok(reply)), None),
        Ok(Answer::Watching(watching, held)) => {
            (protocol::encode_response(&Ok(watching)), Some(held))
        }
        Err(why) => (protocol::encode_response(&Err::<Reply, _>(why)), None),
    };
    stream.write_all(response.as_bytes())?;
    match held {
        Some(held) => hold(stream.try_clone()?, held, stop.clone()),
        None => Ok(()),
    }
}

/// Keeps `held` until the peer goes away, or says anything, or the service ends.
fn hold(mut stream: UnixStream, held: Box<dyn Send>, stop: Stop) -> io::Result<()> {
    let until_gone = move || {
        let _held = held;
        while !stop.now() {
            if readable_within(&stream, PollTimeout::from(READ_POLL)) {
                let _ = stream.read(&mut [0]);
                return;
            }
        }
    };
    let thread = thread::Builder::new().name("mpg_holder".to_string());
    // It ends within a poll of the service, and has nothing to tell.
    thread
        .stack_size(HOLDER_STACK_BYTES)
        .spawn(until_gone)
        .map(drop)
}

/// Answers without having read: the line is far smaller than a socket's buffer.
fn refuse(mut stream: &UnixStream, why: &str) -> io::Result<()> {
    stream.write_all(protocol::encode_response(&Err::<Reply, _>(why.to_string())).as_bytes())
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

fn readable_within(socket: &impl AsFd, timeout: PollTimeout) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, timeout).is_ok_and(|ready| ready > 0)
}

fn peer(stream: &UnixStream) -> io::Result<Peer> {
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
        Ok(Peer {
            uid: peer.uid,
            pid: peer.pid,
        })
    } else {
        Err(io::Error::last_os_error())
    }
}
