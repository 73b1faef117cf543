//! A cgroup of our own with a CPU quota (cgroup v2's cpu.max), which is gone when it is dropped.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{anyhow, bail, Context, Result};

use crate::say;

/// Length of the kernel's quota period, in microseconds; its own default.
const PERIOD_US: u64 = 100_000;
/// The kernel takes no quota that is shorter than this, in microseconds; one percent is the least that is asked for.
const MIN_QUOTA_US: u64 = 1000;
const _: () = assert!(PERIOD_US / 100 >= MIN_QUOTA_US);

/// A cgroup that this process is in, with all its threads.
#[derive(Debug)]
pub struct Cgroup {
    directory: PathBuf,
    /// Where the process was, to go back to.
    origin: PathBuf,
    /// The root of the hierarchy, where the cpu controller was switched on for this cgroup; it is switched off again.
    enabled_in: Option<PathBuf>,
}

impl Cgroup {
    /// Makes a cgroup that may use `percent` of one CPU, and moves this process into it.
    pub fn enter(percent: u64) -> Result<Self> {
        // SAFETY: geteuid takes nothing and returns a number.
        if unsafe { libc::geteuid() } != 0 {
            bail!(
                "a quota needs a cgroup of its own, and only root may make one: run this as root"
            );
        }
        let mounts =
            fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
        let root = mount_point(&mounts).ok_or_else(|| {
            anyhow!(
                "a quota needs cgroup v2, and none is mounted: mount it with `mount -t cgroup2 none /sys/fs/cgroup`"
            )
        })?;
        let own =
            fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
        let origin = path_in_v2(&own).context("this process is in no cgroup of version 2")?;
        Self::enter_at(&root, origin, percent)
    }

    fn enter_at(root: &Path, origin: &str, percent: u64) -> Result<Self> {
        let controllers = read(&root.join("cgroup.controllers"))?;
        if !has_cpu(&controllers) {
            bail!(
                "a quota needs the cpu controller, and the cgroup v2 at {} does not have it: \
                 version 1 has it where both are mounted; boot with cgroup_no_v1=cpu",
                root.display()
            );
        }
        let control = root.join("cgroup.subtree_control");
        let mut cgroup = Cgroup {
            directory: root.join(format!("mpg-bench-{}", process::id())),
            origin: root.join(origin.trim_start_matches('/')),
            enabled_in: None,
        };
        if !has_cpu(&read(&control)?) {
            say(&format!(
                "the cpu controller is switched on in {} for this run",
                control.display()
            ));
            write(&control, "+cpu")?;
            cgroup.enabled_in = Some(root.to_owned());
        }
        // From here on what was made is taken back when `cgroup` is dropped, whatever fails.
        fs::create_dir(&cgroup.directory)
            .with_context(|| format!("cannot make the cgroup {}", cgroup.directory.display()))?;
        let quota_us = PERIOD_US * percent / 100;
        write(
            &cgroup.directory.join("cpu.max"),
            &format!("{quota_us} {PERIOD_US}"),
        )?;
        write(&cgroup.directory.join("cgroup.procs"), "0")?;
        Ok(cgroup)
    }

    /// In how many of the kernel's periods the cgroup used its quota up; `None` where the kernel does not tell.
    pub fn throttled_periods(&self) -> Option<u64> {
        let stat = fs::read_to_string(self.directory.join("cpu.stat")).ok()?;
        stat.lines()
            .find_map(|line| line.strip_prefix("nr_throttled ")?.trim().parse().ok())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A cgroup can only be removed once nobody is in it. Each step is tried, also when one before it failed.
        let left = write(&self.origin.join("cgroup.procs"), "0");
        let removed = match fs::remove_dir(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.directory.display()))
            }
            _ => Ok(()),
        };
        let disabled = self
            .enabled_in
            .iter()
            .try_for_each(|root| write(&root.join("cgroup.subtree_control"), "-cpu"));
        for error in [left, removed, disabled]
            .into_iter()
            .filter_map(Result::err)
        {
            say(&format!("the cgroup is not as it was: {error:#}"));
        }
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Writes in one call, as the kernel's files want it.
fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write '{text}' into {}", path.display()))
}

fn has_cpu(controllers: &str) -> bool {
    controllers
        .split_ascii_whitespace()
        .any(|name| name == "cpu")
}

/// Where cgroup v2 is mounted, from the text of /proc/self/mounts.
fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let (_, directory, kind) = (words.next()?, words.next()?, words.next()?);
        // A space in the path is written as an escape; no one mounts it there.
        (kind == "cgroup2").then(|| PathBuf::from(directory))
    })
}

/// A process's own path in the hierarchy, from the text of its /proc/PID/cgroup.
fn path_in_v2(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| line.strip_prefix("0::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory that looks like a hierarchy, and is removed.
    struct Hierarchy(PathBuf);

    impl Hierarchy {
        fn new(name: &str, controllers: &str, switched_on: &str) -> Result<Self> {
            let root =
                std::env::temp_dir().join(format!("mpg-bench-test-{name}-{}", process::id()));
            fs::create_dir_all(&root)?;
            fs::write(root.join("cgroup.controllers"), controllers)?;
            fs::write(root.join("cgroup.subtree_control"), switched_on)?;
            Ok(Hierarchy(root))
        }

        fn control(&self) -> Result<String> {
            read(&self.0.join("cgroup.subtree_control"))
        }
    }

    impl Drop for Hierarchy {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_controller_is_switched_on_and_off_again() -> Result<()> {
        let hierarchy = Hierarchy::new("on", "cpuset cpu io\n", "memory\n")?;
        let cgroup = Cgroup::enter_at(&hierarchy.0, "/", 20)?;
        assert_eq!(hierarchy.control()?, "+cpu");
        assert_eq!(read(&cgroup.directory.join("cpu.max"))?, "20000 100000");
        fs::write(
            cgroup.directory.join("cpu.stat"),
            "nr_periods 9\nnr_throttled 4\n",
        )?;
        assert_eq!(cgroup.throttled_periods(), Some(4));
        // The kernel's files go with the directory; these do not.
        for file in ["cpu.max", "cpu.stat", "cgroup.procs"] {
            fs::remove_file(cgroup.directory.join(file))?;
        }
        let directory = cgroup.directory.clone();
        drop(cgroup);
        assert!(!directory.exists());
        assert_eq!(hierarchy.control()?, "-cpu");
        assert_eq!(read(&hierarchy.0.join("cgroup.procs"))?, "0");
        Ok(())
    }

    #[test]
    fn a_controller_that_was_on_stays_on() -> Result<()> {
        let hierarchy = Hierarchy::new("stays", "cpu\n", "cpu\n")?;
        let cgroup = Cgroup::enter_at(&hierarchy.0, "/", 20)?;
        fs::remove_file(cgroup.directory.join("cpu.max"))?;
        fs::remove_file(cgroup.directory.join("cgroup.procs"))?;
        drop(cgroup);
        assert_eq!(hierarchy.control()?, "cpu\n");
        Ok(())
    }

    #[test]
    fn a_hierarchy_without_the_controller_is_refused() -> Result<()> {
        let hierarchy = Hierarchy::new("without", "cpuset memory\n", "")?;
        let refusal = Cgroup::enter_at(&hierarchy.0, "/", 20).err();
        let sentence = refusal
            .map(|error| format!("{error:#}"))
            .unwrap_or_default();
        assert!(sentence.contains("needs the cpu controller"), "{sentence}");
        assert_eq!(fs::read_dir(&hierarchy.0)?.count(), 2);
        Ok(())
    }

    #[test]
    fn what_the_kernel_lists_is_found() {
        let mounts =
            "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(mount_point(mounts), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(mount_point("proc /proc proc rw 0 0\n"), None);
        assert_eq!(
            path_in_v2("1:cpu:/a\n0::/user.slice\n"),
            Some("/user.slice")
        );
        assert_eq!(path_in_v2("1:cpu:/a\n"), None);
    }
}
