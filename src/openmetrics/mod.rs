// SPDX-License-Identifier: GPL-2.0-only
//! The statistics as OpenMetrics, over HTTP: `--metrics ADDRESS`.
//!
//! What is served is derived from the table of [`stats`](crate::stats): each field of
//! [`Metrics`](crate::stats::Metrics) says there what it is called, what it means and whether it is
//! a counter or a gauge ([`families`]). Histograms have no field there and are encoded beside the fields
//! ([`histograms`]).
//!
//! The threads of scx_mpg run before all others, so whoever asks must not have much of them: one
//! thread serves all clients, waits for none of them, and rests between two looks at them
//! ([`server`]). If it should ever fail, its listener closes with it, and the scraper's `up` is 0.

mod address;
mod families;
mod histograms;
mod http;
mod server;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread::{Builder, JoinHandle};

use anyhow::{Context, Result};

use crate::socket::{self, SocketFile};

pub use address::Address;
pub use families::{Families, CONTENT_TYPE};

/// The thread's stack: locked in memory, and a client's bytes are elsewhere.
const STACK_BYTES: usize = 256 * 1024;

/// Somebody's end of a connection that never blocks.
trait Peer: io::Read + io::Write + AsFd + Send {
    /// Tells the peer that nothing more will come.
    fn finish(&self) -> io::Result<()>;
}

impl Peer for TcpStream {
    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Peer for UnixStream {
    fn finish(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

/// What clients connect to; accepting never blocks.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn accept(&self) -> io::Result<Box<dyn Peer>> {
        match self {
            Self::Tcp(listener) => {
                let (peer, _) = listener.accept()?;
                peer.set_nonblocking(true)?;
                Ok(Box::new(peer))
            }
            Self::Unix(listener) => {
                let (peer, _) = listener.accept()?;
                peer.set_nonblocking(true)?;
                Ok(Box::new(peer))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

/// An address that is ours, where nobody is answered yet.
pub struct Endpoint {
    listener: Listener,
    file: Option<SocketFile>,
}

/// Takes possession of `address`, so that it is known early whether it can be served. Only the user
/// who runs this can connect to a Unix socket, and the members of `group`, its number, if one is
/// given; every user of the machine to a loopback address.
///
/// # Errors
/// If the address is not to be had; one sentence.
pub fn listen(address: &Address, group: Option<u32>) -> Result<Endpoint> {
    let failed = || format!("cannot serve metrics at {address}");
    match address {
        Address::Tcp(at) => {
            let listener = TcpListener::bind(at).with_context(failed)?;
            listener.set_nonblocking(true).with_context(failed)?;
            Ok(Endpoint {
                listener: Listener::Tcp(listener),
                file: None,
            })
        }
        Address::Unix(path) => {
            let (listener, file) = socket::listen(path, group).with_context(failed)?;
            Ok(Endpoint {
                listener: Listener::Unix(listener),
                file: Some(file),
            })
        }
    }
}

impl Endpoint {
    /// Answers from a thread of its own with the text that `families` makes at that moment.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn serve(self, families: Families) -> Result<Server> {
        let (ours, its) = UnixStream::pair().context("cannot make a pair of sockets")?;
        let listener = self.listener;
        let thread = Builder::new()
            .name("mpg-metrics".to_string())
            .stack_size(STACK_BYTES)
            .spawn(move || server::serve(&listener, &its, || families.text()))
            .context("cannot start the thread that serves metrics")?;
        Ok(Server {
            stop: Some(ours),
            thread: Some(thread),
            _file: self.file,
        })
    }
}

/// Metrics being served; dropping it ends the service and removes the socket file, if there is one.
pub struct Server {
    /// The thread ends when this is closed.
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    /// Goes once the thread has ended.
    _file: Option<SocketFile>,
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic has reported itself.
            let _ = thread.join();
        }
    }
}
