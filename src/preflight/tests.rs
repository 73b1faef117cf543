// SPDX-License-Identifier: GPL-2.0-only
//! Made-up systems, each with one thing wrong.

use super::*;

/// Type information as the kernel writes it, of the few types that matter here.
///
/// The layout is the kernel's: a header of 24 bytes, types of 12 bytes with what follows each,
/// names.
struct MadeUpBtf {
    types: Vec<u8>,
    names: Vec<u8>,
    count: u32,
}

const KIND_STRUCT: u32 = 4;
const KIND_ENUM: u32 = 6;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const KIND_ENUM64: u32 = 19;

impl MadeUpBtf {
    fn new() -> Self {
        Self {
            types: Vec::new(),
            names: vec![0],
            count: 0,
        }
    }

    fn name(&mut self, name: &str) -> u32 {
        let at = self.names.len() as u32;
        self.names.extend_from_slice(name.as_bytes());
        self.names.push(0);
        at
    }

    fn push(&mut self, words: &[u32]) -> u32 {
        self.types
            .extend(words.iter().flat_map(|word| word.to_le_bytes()));
        self.count += 1;
        self.count
    }

    fn ops(mut self) -> Self {
        let name = self.name("sched_ext_ops");
        self.push(&[name, KIND_STRUCT << 24, 0]);
        self
    }

    fn flag(mut self, flag: &str, wide: bool) -> Self {
        let (name, flag) = (self.name("scx_ops_flags"), self.name(flag));
        if wide {
            self.push(&[name, KIND_ENUM64 << 24 | 1, 8, flag, 1 << 6, 0]);
        } else {
            self.push(&[name, KIND_ENUM << 24 | 1, 4, flag, 1 << 6]);
        }
        self
    }

    fn functions(mut self, names: &[&str], parameter: &str) -> Self {
        let parameter = self.name(parameter);
        let prototype = self.push(&[0, KIND_FUNC_PROTO << 24 | 1, 0, parameter, 0]);
        for name in names {
            let name = self.name(name);
            self.push(&[name, KIND_FUNC << 24, prototype]);
        }
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let (types, names) = (self.types.len() as u32, self.names.len() as u32);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        bytes.extend(
            [24, 0, types, types, names]
                .iter()
                .flat_map(|word| word.to_le_bytes()),
        );
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.names);
        bytes
    }
}

const NEEDED_FUNCTIONS: &[&str] = &[
    "scx_bpf_dsq_move_vtime",
    "scx_bpf_get_idle_smtmask_node",
    "scx_bpf_pick_idle_cpu_node",
    "__scx_bpf_select_cpu_and",
];

fn good_btf() -> MadeUpBtf {
    MadeUpBtf::new()
        .ops()
        .flag("SCX_OPS_BUILTIN_IDLE_PER_NODE", true)
        .functions(NEEDED_FUNCTIONS, "p")
        .functions(&["scx_bpf_dsq_move_vtime_impl"], "aux")
}

/// A system with nothing wrong, removed when dropped.
struct System(PathBuf);

impl System {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("mpg_preflight_{}_{name}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let system = Self(dir);
        system.put("proc/sys/kernel/osrelease", b"6.18.15+deb13-amd64\n");
        system.put(
            "proc/self/status",
            b"Name:\tx\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n",
        );
        system.put("sys/kernel/sched_ext/state", b"disabled\n");
        system.put("sys/devices/system/cpu/possible", b"0-7\n");
        system.put("sys/devices/system/node/has_cpu", b"0-1\n");
        system.put("sys/kernel/btf/vmlinux", &good_btf().bytes());
        system
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn btf(&self, btf: &MadeUpBtf) {
        self.put("sys/kernel/btf/vmlinux", &btf.bytes());
    }

    fn check(&self) -> Result<Kernel, PreflightError> {
        check_in(&Root {
            sys: self.0.join("sys"),
            proc: self.0.join("proc"),
        })
    }

    fn refusal(&self) -> String {
        self.check().unwrap_err().to_string()
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_good_system_passes() {
    let system = System::new("good");
    system.check().unwrap();
    // Without NUMA, with enums of the old kind, and with the older name of a function.
    fs::remove_dir_all(system.0.join("sys/devices/system/node")).unwrap();
    system.btf(
        &MadeUpBtf::new()
            .ops()
            .flag("SCX_OPS_BUILTIN_IDLE_PER_NODE", false)
            .functions(&NEEDED_FUNCTIONS[..3], "p")
            .functions(&["scx_bpf_select_cpu_and"], "p"),
    );
    system.check().unwrap();
}

#[test]
fn a_kernel_that_drops_preemption_is_known_by_a_name() {
    let system = System::new("drops");
    let drops = |parameter| {
        system.btf(&good_btf().functions(&["enqueue_task_scx"], parameter));
        system.check().unwrap().drops_preemption
    };
    assert!(drops("enq_flags"));
    assert!(!drops("core_enq_flags"));
}

#[test]
fn privilege_is_needed() {
    let system = System::new("privilege");
    system.put("proc/self/status", b"CapEff:\t0000000000000000\n");
    assert_eq!(
        system.refusal(),
        "scx_mpg may not load a scheduler because it lacks CAP_SYS_ADMIN: run it as root, for \
         example with sudo"
    );
    system.put("proc/self/status", b"CapEff:\tnonsense\n");
    assert!(matches!(system.check(), Err(PreflightError::NotPrivileged)));
}

#[test]
fn sched_ext_is_needed() {
    let system = System::new("no_sched_ext");
    fs::remove_dir_all(system.0.join("sys/kernel/sched_ext")).unwrap();
    system.put("proc/sys/kernel/osrelease", b"6.12.48\n");
    assert_eq!(
        system.refusal(),
        "the running kernel 6.12.48 has no sched_ext (there is no /sys/kernel/sched_ext): boot \
         Linux 6.16 or later with CONFIG_SCHED_CLASS_EXT=y"
    );
}

#[test]
fn another_scheduler_is_named() {
    let system = System::new("another");
    system.put("sys/kernel/sched_ext/state", b"enabled\n");
    system.put("sys/kernel/sched_ext/root/ops", b"rusty_1.1.4\n");
    assert_eq!(
        system.refusal(),
        "another scheduler is loaded already, rusty_1.1.4: stop it before starting scx_mpg"
    );
    system.put("sys/kernel/sched_ext/state", b"disabling\n");
    fs::remove_dir_all(system.0.join("sys/kernel/sched_ext/root")).unwrap();
    assert!(system
        .refusal()
        .starts_with("another scheduler, of unknown name, is in the state"));
}

#[test]
fn what_an_old_kernel_lacks_is_named() {
    let system = System::new("old");
    system.put("proc/sys/kernel/osrelease", b"6.14.0\n");
    system.btf(
        &MadeUpBtf::new()
            .ops()
            .flag("SCX_OPS_KEEP_BUILTIN_IDLE", true),
    );
    assert_eq!(
        system.refusal(),
        "the running kernel 6.14.0 is too old, it lacks SCX_OPS_BUILTIN_IDLE_PER_NODE: boot Linux \
         6.16 or later with CONFIG_SCHED_CLASS_EXT=y"
    );
    let flag = MadeUpBtf::new()
        .ops()
        .flag("SCX_OPS_BUILTIN_IDLE_PER_NODE", true);
    system.btf(&flag.functions(&NEEDED_FUNCTIONS[..3], "p"));
    assert!(system
        .refusal()
        .contains("it lacks scx_bpf_select_cpu_and()"));
}

#[test]
fn bad_type_information_is_told_apart() {
    let system = System::new("btf");
    system.btf(&MadeUpBtf::new());
    assert!(system.refusal().starts_with(
        "the type information of the running kernel 6.18.15+deb13-amd64 lacks struct"
    ));

    system.put("sys/kernel/btf/vmlinux", b"not this");
    let refusal = system.refusal();
    assert!(refusal.contains("cannot be used") && refusal.contains("CONFIG_DEBUG_INFO_BTF"));

    fs::remove_file(system.0.join("sys/kernel/btf/vmlinux")).unwrap();
    assert!(system.refusal().contains("No such file"));
}

#[test]
fn malformed_prototypes_are_named() {
    let system = System::new("malformed");
    system.put("proc/sys/kernel/osrelease", b"7.2.12+deb13-amd64\n");
    system.btf(
        &MadeUpBtf::new()
            .ops()
            .flag("SCX_OPS_BUILTIN_IDLE_PER_NODE", true)
            .functions(NEEDED_FUNCTIONS, "aux"),
    );
    assert_eq!(
        system.refusal(),
        "the running kernel 7.2.12+deb13-amd64 was built with a pahole older than 1.26 and refuses \
         every sched_ext program (wrong prototypes of scx_bpf_dsq_move_vtime, \
         scx_bpf_get_idle_smtmask_node, scx_bpf_pick_idle_cpu_node and 1 more): boot another build \
         of it"
    );
}

#[test]
fn machines_beyond_the_wire_are_refused() {
    let system = System::new("size");
    system.put("sys/devices/system/cpu/possible", b"0-4095\n");
    system.put("sys/devices/system/node/has_cpu", b"0-62,100\n");
    system.check().unwrap();
    system.put("sys/devices/system/node/has_cpu", b"0-63,100\n");
    assert!(matches!(
        system.check(),
        Err(PreflightError::TooManyNodes(65))
    ));
    system.put("sys/devices/system/cpu/possible", b"0-1,4096\n");
    assert!(matches!(
        system.check(),
        Err(PreflightError::TooManyCpus(4097))
    ));
    fs::remove_file(system.0.join("sys/devices/system/cpu/possible")).unwrap();
    assert!(matches!(
        system.check(),
        Err(PreflightError::Unreadable(..))
    ));
}

#[test]
fn releases_are_compared_by_number() {
    for (release, older) in [
        ("6.15.11-arch1", true),
        ("5.19", true),
        ("6.16.0", false),
        ("6.16-rc1", false),
        ("7.2.13+deb14-amd64", false),
        ("10.1", false),
        ("unreadable", false),
    ] {
        assert_eq!(older_than(release, OLDEST), older, "{release}");
    }
}
