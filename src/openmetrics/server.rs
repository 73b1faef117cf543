// SPDX-License-Identifier: GPL-2.0-only
//! The answering end: one thread for all clients, which never waits for one of them.
//!
//! A client has [`CLIENT_TIMEOUT`] from its connection to its end, whether it asks slowly, reads
//! slowly or does neither. Who comes when [`CLIENTS`] are there takes the place of the one that is
//! there longest: a scrape is over in milliseconds, so that is one who keeps silent. Between two
//! looks at its clients the thread rests for [`REST`], and one text serves all who ask in between:
//! whatever they do, they cost a hundred looks and a hundred texts a second.

use std::cell::LazyCell;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};

use super::{http, Listener, Peer};

/// How many clients are attended to at once.
const CLIENTS: usize = 16;
/// How long a client may take, from its connection to its end.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the thread rests between two looks.
const REST: Duration = Duration::from_millis(10);

/// Answers the clients of `listener` with what `text` makes, until the other end of `stop` closes.
pub fn serve(listener: &Listener, stop: &UnixStream, text: impl Fn() -> String) {
    let mut clients: Vec<Client> = Vec::with_capacity(CLIENTS);
    loop {
        let (stopped, new) = wait(listener, stop, &clients);
        if stopped {
            return;
        }
        let text = LazyCell::new(&text);
        let now = Instant::now();
        clients.retain_mut(|client| client.until > now && client.go_on(&text));
        for _ in 0..if new { CLIENTS } else { 0 } {
            let Ok(peer) = listener.accept() else {
                break;
            };
            let mut client = Client::new(peer);
            if client.go_on(&text) {
                if clients.len() == CLIENTS {
                    clients.remove(0);
                }
                clients.push(client);
            }
        }
        thread::sleep(REST);
    }
}

/// Sleeps until there is something to do; returns whether to stop, and whether somebody came.
fn wait(listener: &Listener, stop: &UnixStream, clients: &[Client]) -> (bool, bool) {
    let mut fds = Vec::with_capacity(2 + CLIENTS);
    fds.push(PollFd::new(stop.as_fd(), PollFlags::POLLIN));
    fds.push(PollFd::new(listener.as_fd(), PollFlags::POLLIN));
    fds.extend(
        clients
            .iter()
            .map(|client| PollFd::new(client.peer.as_fd(), client.wants())),
    );
    let first = clients.iter().map(|client| client.until).min();
    let timeout = first.map_or(PollTimeout::NONE, |until| {
        let left = until.saturating_duration_since(Instant::now());
        // Rounded up, or it would wake before the time.
        let ms = left.as_millis() as u16 + 1;
        PollTimeout::from(ms)
    });
    // An interruption shows nothing, and is followed by another look.
    match poll(&mut fds, timeout) {
        Ok(_) => {
            let seen = |at: usize| fds[at].any().unwrap_or(true);
            (seen(0), seen(1))
        }
        Err(_) => (false, false),
    }
}

/// What a client is at.
enum Stage {
    /// Has sent this much of a request.
    Asking(Vec<u8>),
    /// Is sent these bytes, from this one on.
    Reading(Vec<u8>, usize),
    /// Has been sent everything and shall hang up. To hang up first while it still sends would
    /// have the kernel throw away what it has not read.
    Leaving,
}

struct Client {
    peer: Box<dyn Peer>,
    until: Instant,
    stage: Stage,
}

impl Client {
    fn new(peer: Box<dyn Peer>) -> Self {
        Self {
            peer,
            until: Instant::now() + CLIENT_TIMEOUT,
            stage: Stage::Asking(Vec::new()),
        }
    }

    fn wants(&self) -> PollFlags {
        match self.stage {
            Stage::Asking(_) | Stage::Leaving => PollFlags::POLLIN,
            Stage::Reading(..) => PollFlags::POLLOUT,
        }
    }

    /// Does what can be done without waiting; returns whether there may be more to do.
    fn go_on<F: Fn() -> String>(&mut self, text: &LazyCell<String, F>) -> bool {
        use io::ErrorKind::{Interrupted, WouldBlock};
        match self.advance(text) {
            Ok(stays) => stays,
            Err(e) => matches!(e.kind(), Interrupted | WouldBlock),
        }
    }

    fn advance<F: Fn() -> String>(&mut self, text: &LazyCell<String, F>) -> io::Result<bool> {
        let mut chunk = [0; 4096];
        loop {
            match &mut self.stage {
                Stage::Asking(request) => {
                    let n = self.peer.read(&mut chunk)?;
                    if n == 0 {
                        return Ok(false);
                    }
                    request.extend_from_slice(&chunk[..n]);
                    if let Some(answer) = http::judge(request) {
                        let response = http::response(answer, || text.to_string());
                        self.stage = Stage::Reading(response, 0);
                    }
                }
                Stage::Reading(response, from) => {
                    *from += self.peer.write(&response[*from..])?;
                    if *from == response.len() {
                        self.peer.finish()?;
                        self.stage = Stage::Leaving;
                    }
                }
                // Once for each look, however much it sends.
                Stage::Leaving => return Ok(self.peer.read(&mut chunk)? > 0),
            }
        }
    }
}
