// SPDX-License-Identifier: GPL-2.0-only
//! A picture of all queues at the moment when tasks starve, for whoever comes later.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::control;
use crate::schedtrace::Tracer;

/// Its name, beside the control socket: in a directory that only root may write to.
const FILE: &str = "starvation.txt";
/// An alert that comes sooner after the one pictured last has the same reason, or tells no more.
const PICTURES_APART: Duration = Duration::from_secs(600);

/// One picture: the next replaces it.
#[derive(Default)]
pub struct Album {
    taken: Option<Instant>,
}

impl Album {
    /// Takes a picture, unless there is one that is newer than [`PICTURES_APART`]; says where it is.
    pub fn add(&mut self, tracer: &Tracer, why: &str) {
        let now = Instant::now();
        if !is_due(self.taken, now) {
            return;
        }
        let path = path();
        let text = tracer.everything().map(|all| format!("{why}\n{all}\n"));
        let written = text.and_then(|text| Ok(write(&path, text.as_bytes())?));
        match written {
            Ok(()) => {
                self.taken = Some(now);
                log::warn!("who waited then is in {}", path.display());
            }
            Err(e) => log::warn!("cannot write {}: {e:#}", path.display()),
        }
    }
}

fn is_due(taken: Option<Instant>, now: Instant) -> bool {
    taken.is_none_or(|at| now.saturating_duration_since(at) >= PICTURES_APART)
}

fn path() -> PathBuf {
    Path::new(control::SOCKET_PATH).with_file_name(FILE)
}

/// Puts a file that only its owner may read in the place of the one that is there.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    // One that an end in mid-sentence left.
    match fs::remove_file(&new) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_picture_is_its_owner_s_and_replaces_the_one_before() {
        let path = std::env::temp_dir().join(format!("mpg_snapshot_{}.txt", std::process::id()));
        fs::write(path.with_extension("new"), "half of one").unwrap();
        for text in ["a long first one", "second"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(!path.with_extension("new").exists());
        fs::remove_file(&path).unwrap();
        write(Path::new("/nonexistent/mpg.txt"), b"").unwrap_err();
    }

    #[test]
    fn the_first_is_taken_and_then_one_in_ten_minutes() {
        let now = Instant::now();
        assert!(is_due(None, now));
        assert!(!is_due(Some(now), now + Duration::from_secs(599)));
        assert!(is_due(Some(now), now + PICTURES_APART));
    }
}
