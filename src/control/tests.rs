// SPDX-License-Identifier: GPL-2.0-only
//! Both ends of the control socket, against each other.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::protocol::MAX_LINE_BYTES;
use super::server::ControlServer;
use super::*;
use crate::patch::Patch;
use crate::settings::Settings;

/// A directory that is removed with everything in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("mpg_control_{}_{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        DirBuilder::new().mode(0o755).create(&dir).unwrap();
        Self(dir)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("run/control.sock")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn settings_handler() -> impl Fn(Request, Peer) -> Result<Answer, String> + Send + Sync {
    let settings = Mutex::new(Settings::default());
    let held = Arc::new(());
    move |request, peer| {
        if let Request::Watch(_) = request {
            // Tells how many are held, and who asks.
            let watching = Watching {
                rings: vec![Arc::strong_count(&held) as u32 - 1, peer.pid as u32],
                logs: 0,
                ..Watching::default()
            };
            return Ok(Answer::Watching(watching, Box::new(Arc::clone(&held))));
        }
        let mut settings = settings.lock().unwrap();
        if let Request::Set(change) = request {
            *settings = settings
                .apply_patch(&change.patch)
                .map_err(|e| e.to_string())?;
        }
        Ok(Answer::Settings(Reply {
            settings: settings.clone(),
            returns_in_s: None,
        }))
    }
}

fn settings_server(path: &Path, stop: Arc<AtomicBool>) -> Result<ControlServer, ControlError> {
    serve(path, None, settings_handler(), stop)
}

fn set_slice(us: u64) -> Request {
    let patch = Patch {
        params: [("slice_us".to_string(), us)].into(),
        ..Patch::default()
    };
    Request::Set(Change { for_s: None, patch })
}

fn raw(path: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn settings_are_changed_and_shown() {
    let scratch = Scratch::new("set");
    let path = scratch.socket();
    let _server = settings_server(&path, Arc::default()).unwrap();
    let slice_us =
        |request: &Request| super::request(&path, request).map(|s| s.settings.param("slice-us"));
    assert_eq!(slice_us(&set_slice(3000)).unwrap(), Some(3000));
    assert_eq!(slice_us(&Request::Show {}).unwrap(), Some(3000));

    let refusal = slice_us(&set_slice(5)).unwrap_err().to_string();
    assert!(refusal.starts_with("slice-us is 5, expected "), "{refusal}");
    assert_eq!(slice_us(&Request::Show {}).unwrap(), Some(3000));
}

#[test]
fn a_watch_lasts_as_long_as_its_connection() {
    let scratch = Scratch::new("watch");
    let path = scratch.socket();
    let stop = Arc::new(AtomicBool::new(false));
    let _server = settings_server(&path, stop.clone()).unwrap();
    let watch = Request::Watch(Watch { over_us: 300 });
    let held_before = || {
        let (watching, connection) = super::hold::<Watching>(&path, &watch).unwrap();
        assert_eq!(watching.rings[1], std::process::id());
        (watching.rings[0], connection)
    };
    let (none, first) = held_before();
    assert_eq!(none, 0);
    // Others are answered meanwhile.
    request(&path, &Request::Show {}).unwrap();
    let (one, second) = held_before();
    assert_eq!(one, 1);
    drop((first, second));
    let begun = Instant::now();
    while held_before().0 != 0 {
        assert!(begun.elapsed() < Duration::from_secs(1));
        thread::sleep(Duration::from_millis(5));
    }
    // The end of the service is the end of the connection.
    let (_, mut last) = held_before();
    stop.store(true, Ordering::Relaxed);
    assert_eq!(last.read(&mut [0]).unwrap(), 0);
}

#[test]
fn only_the_owner_can_reach_the_socket() {
    let scratch = Scratch::new("mode");
    let path = scratch.socket();
    let _server = settings_server(&path, Arc::default()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777,
        0o755
    );
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
}

#[test]
fn nonsense_is_answered() {
    let scratch = Scratch::new("nonsense");
    let path = scratch.socket();
    let _server = settings_server(&path, Arc::default()).unwrap();
    assert!(raw(&path, b"\xff\xfe\n").contains("\"error\":\"the request is not JSON"));
    assert!(raw(&path, b"{\"version\":9}\n").contains("speaks version 1"));
    // An end of file ends a line as a newline does.
    let stream = UnixStream::connect(&path).unwrap();
    (&stream)
        .write_all(br#"{"version":1,"request":{"show":{}}}"#)
        .unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    (&stream).read_to_string(&mut answer).unwrap();
    assert!(answer.contains("\"ok\":{"), "{answer}");
}

#[test]
fn a_line_without_end_is_cut_off() {
    let scratch = Scratch::new("long");
    let path = scratch.socket();
    let _server = settings_server(&path, Arc::default()).unwrap();
    // Exactly the limit: not a byte is left unread that would reset the connection.
    let answer = raw(&path, &[b' '; MAX_LINE_BYTES]);
    assert!(answer.contains("longer than 65536 bytes"), "{answer}");
}

#[test]
fn a_silent_peer_is_hung_up_on() {
    let scratch = Scratch::new("silent");
    let path = scratch.socket();
    let _server = settings_server(&path, Arc::default()).unwrap();
    let begun = Instant::now();
    let answer = raw(&path, b"{");
    assert!(
        answer.contains("no whole request came within 2 seconds"),
        "{answer}"
    );
    assert!(begun.elapsed() >= LINE_TIMEOUT);
}

#[test]
fn stopping_takes_no_longer_than_a_poll() {
    let scratch = Scratch::new("stop");
    let path = scratch.socket();
    let stop = Arc::new(AtomicBool::new(false));
    let server = settings_server(&path, stop.clone()).unwrap();
    // A peer that says nothing must not hold up the stop.
    let _peer = UnixStream::connect(&path).unwrap();
    thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    stop.store(true, Ordering::Relaxed);
    while UnixStream::connect(&path).is_ok() {
        thread::sleep(Duration::from_millis(10));
    }
    // Five times the promise: the machine that tests may be busy.
    assert!(
        begun.elapsed() < Duration::from_millis(500),
        "{:?}",
        begun.elapsed()
    );
    drop(server);
    assert!(!path.exists());
    assert!(matches!(
        request(&path, &Request::Show {}),
        Err(ControlError::NotRunning(_))
    ));
}

#[test]
fn a_dead_daemons_socket_is_replaced_and_a_live_ones_is_not() {
    let scratch = Scratch::new("stale");
    let path = scratch.socket();
    fs::create_dir(path.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let refusal = request(&path, &Request::Show {}).unwrap_err().to_string();
    assert!(
        refusal.starts_with("no scx_mpg is running (nothing answers at "),
        "{refusal}"
    );

    let first = settings_server(&path, Arc::default()).unwrap();
    let refused = settings_server(&path, Arc::default());
    assert!(matches!(
        refused,
        Err(ControlError::Socket(SocketError::InUse(_)))
    ));
    // The refused one has left the first one's socket alone.
    request(&path, &Request::Show {}).unwrap();
    drop(first);
    assert!(!path.exists());
}

#[test]
fn a_successors_socket_is_not_removed() {
    let scratch = Scratch::new("successor");
    let path = scratch.socket();
    let first = settings_server(&path, Arc::default()).unwrap();
    fs::remove_file(&path).unwrap();
    let _second = settings_server(&path, Arc::default()).unwrap();
    drop(first);
    request(&path, &Request::Show {}).unwrap();
}

#[test]
fn what_is_in_the_way_is_left_alone() {
    let scratch = Scratch::new("in_the_way");
    let path = scratch.socket();
    fs::create_dir(path.parent().unwrap()).unwrap();
    fs::write(&path, "precious").unwrap();
    let refused = settings_server(&path, Arc::default());
    assert!(matches!(
        refused,
        Err(ControlError::Socket(SocketError::NotASocket(_)))
    ));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");

    fs::remove_file(&path).unwrap();
    fs::set_permissions(path.parent().unwrap(), Permissions::from_mode(0o777)).unwrap();
    let refused = settings_server(&path, Arc::default());
    assert!(matches!(
        refused,
        Err(ControlError::Socket(SocketError::UnsafeDirectory(_)))
    ));
}

#[test]
fn a_client_says_when_the_answer_is_none() {
    let scratch = Scratch::new("bad_answer");
    let path = scratch.0.join("other.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let other = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 512];
        let _ = stream.read(&mut request).unwrap();
        stream.write_all(b"220 mail ready\n").unwrap();
    });
    let refusal = request(&path, &Request::Show {}).unwrap_err().to_string();
    assert!(refusal.starts_with("the answer is not JSON"), "{refusal}");
    other.join().unwrap();

    // A socket of another type refuses the connection with an error of its own.
    let path = scratch.0.join("datagram.sock");
    let _datagram = UnixDatagram::bind(&path).unwrap();
    let refusal = request(&path, &Request::Show {}).unwrap_err().to_string();
    assert!(
        refusal.starts_with("cannot speak to the scx_mpg at "),
        "{refusal}"
    );
}
