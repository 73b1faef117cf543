// SPDX-License-Identifier: GPL-2.0-only
//! Files of Unix sockets: who may open them, what they may replace, and who removes them.

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{chown, DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why nothing can listen at a path. Its text is one sentence for the user.
#[derive(Debug)]
pub enum SocketError {
    /// A live daemon listens at the path already.
    InUse(PathBuf),
    /// Something that is no socket lies at the path.
    NotASocket(PathBuf),
    /// Others than the owner could replace the socket in this directory.
    UnsafeDirectory(PathBuf),
    /// The system refused something.
    System(&'static str, PathBuf, io::Error),
}

impl fmt::Display for SocketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "another scx_mpg answers at {}: stop it before starting a new one",
                path.display()
            ),
            Self::NotASocket(path) => write!(
                f,
                "{} is in the way and is not a socket: move it elsewhere",
                path.display()
            ),
            Self::UnsafeDirectory(path) => write!(
                f,
                "{} must be a directory that only the user who runs scx_mpg can write: correct \
                 its owner and mode, or remove it",
                path.display()
            ),
            Self::System(what, path, cause) => {
                write!(f, "cannot {what} {}: {cause}", path.display())
            }
        }
    }
}

impl std::error::Error for SocketError {}

/// The file of a socket that this process listens at; dropping it removes the file.
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode: a successor's file at the path is not ours to remove.
    id: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|m| (m.dev(), m.ino()) == self.id) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The user who runs this.
pub fn owner() -> u32 {
    // SAFETY: geteuid takes nothing, cannot fail and touches no memory of ours.
    unsafe { libc::geteuid() }
}

/// Listens at `path`, without blocking in accept. The owner alone can connect, and the members of
/// `group`, its number, if one is given.
///
/// The directory is made if it is missing. The file is made beside the path and moved there with
/// its mode set: it is never open to others.
///
/// # Errors
/// If a live socket or something else is there, or others could put a socket of theirs there.
pub fn listen(path: &Path, group: Option<u32>) -> Result<(UnixListener, SocketFile), SocketError> {
    prepare_directory(path)?;
    match fs::symlink_metadata(path) {
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(SocketError::NotASocket(path.into()));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(SocketError::InUse(path.into())),
        _ => {}
    }
    let failed = |e| SocketError::System("listen at", path.into(), e);
    let beside = path.with_extension(format!("{}", std::process::id()));
    let _ = fs::remove_file(&beside);
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    let placed = (|| {
        if group.is_some() {
            chown(&beside, None, group)?;
        }
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        fs::set_permissions(&beside, Permissions::from_mode(mode))?;
        listener.set_nonblocking(true)?;
        let meta = fs::symlink_metadata(&beside)?;
        fs::rename(&beside, path)?;
        Ok((meta.dev(), meta.ino()))
    })();
    match placed {
        Ok(id) => Ok((
            listener,
            SocketFile {
                path: path.to_path_buf(),
                id,
            },
        )),
        Err(e) => {
            let _ = fs::remove_file(&beside);
            Err(failed(e))
        }
    }
}

/// Makes the socket's directory, or checks that nobody else can swap the socket in it.
fn prepare_directory(path: &Path) -> Result<(), SocketError> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let failed = |e| SocketError::System("create the directory", dir.into(), e);
    match DirBuilder::new().mode(0o755).create(dir) {
        // The mode asked for is cut by the umask.
        Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o755)).map_err(failed),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            let meta = fs::symlink_metadata(dir).map_err(failed)?;
            if meta.is_dir() && meta.uid() == owner() && meta.mode() & 0o022 == 0 {
                Ok(())
            } else {
                Err(SocketError::UnsafeDirectory(dir.into()))
            }
        }
        Err(e) => Err(failed(e)),
    }
}
