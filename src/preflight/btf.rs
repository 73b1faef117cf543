// SPDX-License-Identifier: GPL-2.0-only
//! What the kernel's type information tells about its sched_ext.
//!
//! The compat macros of the kernel half take another way where an older kernel lacks something;
//! what is listed here has no other way.

use std::ffi::OsStr;
use std::path::Path;

use libbpf_rs::btf::types::{Enum, Enum64, FuncProto};
use libbpf_rs::btf::{Btf, BtfKind, BtfType};

/// Functions that must exist; where there are several names, under any of them.
const FUNCTIONS: &[&[&str]] = &[
    &["scx_bpf_dsq_move_vtime"],
    &["scx_bpf_get_idle_smtmask_node"],
    &["scx_bpf_pick_idle_cpu_node"],
    // The mark of 6.16, the oldest release that the scheduler is tested on. Since 6.19 its
    // arguments may come packed in a structure, under a name of its own.
    &["scx_bpf_select_cpu_and", "__scx_bpf_select_cpu_and"],
];
/// The structure of a scheduler's operations.
const OPS: &str = "sched_ext_ops";
/// The enum of the operations' flags, and the flag that is needed: idle CPUs by node.
const FLAGS: (&str, &str) = ("scx_ops_flags", "SCX_OPS_BUILTIN_IDLE_PER_NODE");

/// The kernel's function that puts a task on a CPU, and the parameter that it has where it cuts off
/// the flags beyond the lower 32 bits. It was renamed when that was mended.
const ENQUEUE: (&str, &str) = ("enqueue_task_scx", "enq_flags");

/// What was found; all well when nothing was.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// The first thing that is missing, in words.
    pub missing: Option<String>,
    /// Functions of sched_ext whose public prototype shows the argument that the verifier adds.
    pub malformed: Vec<String>,
    /// See [`super::Kernel::drops_preemption`].
    pub drops_preemption: bool,
}

/// Reads the type information at `path`; the error is the cause in a few words.
pub(super) fn inspect(path: &Path) -> Result<Findings, String> {
    // libbpf would tell a file that is not there from one that is wrong only in lines of its own.
    std::fs::File::open(path).map_err(|e| e.to_string())?;
    let printer = libbpf_rs::set_print(None);
    let parsed = Btf::from_path(path);
    libbpf_rs::set_print(printer);
    let btf = parsed.map_err(|e| format!("{e:#}"))?;

    let (mut ops, mut flag, mut functions) = (false, false, [false; FUNCTIONS.len()]);
    let mut malformed = Vec::new();
    let mut drops_preemption = false;
    for ty in btf.type_by_kind::<BtfType<'_>>() {
        let Some(name) = ty.name().and_then(OsStr::to_str) else {
            continue;
        };
        match ty.kind() {
            BtfKind::Struct => ops |= name == OPS,
            BtfKind::Enum | BtfKind::Enum64 if name == FLAGS.0 => flag |= has_flag(ty),
            BtfKind::Func => {
                for (found, names) in functions.iter_mut().zip(FUNCTIONS) {
                    *found |= names.contains(&name);
                }
                if is_public(name) && shows_aux(ty) {
                    malformed.push(name.to_string());
                }
                drops_preemption |= name == ENQUEUE.0 && has_parameter(ty, ENQUEUE.1);
            }
            _ => {}
        }
    }
    let absent = functions.iter().position(|found| !found);
    let missing = match (ops, flag, absent) {
        (false, _, _) => Some(format!("struct {OPS}")),
        (_, false, _) => Some(FLAGS.1.to_string()),
        (_, _, Some(at)) => Some(format!("{}()", FUNCTIONS[at][0])),
        _ => None,
    };
    Ok(Findings {
        missing,
        malformed,
        drops_preemption,
    })
}

fn has_flag(ty: BtfType<'_>) -> bool {
    let needed = Some(OsStr::new(FLAGS.1));
    let narrow = Enum::try_from(ty)
        .is_ok_and(|e| (0..e.len()).any(|at| e.get(at).is_some_and(|v| v.name == needed)));
    narrow
        || Enum64::try_from(ty)
            .is_ok_and(|e| (0..e.len()).any(|at| e.get(at).is_some_and(|v| v.name == needed)))
}

/// Whether BPF programs call the function by this name.
fn is_public(name: &str) -> bool {
    name.trim_start_matches("__").starts_with("scx_bpf_") && !name.ends_with("_impl")
}

/// The kernel's build leaves the argument that the verifier adds to the function named `_impl`; a
/// build that failed to is told by a public function that still has it.
fn shows_aux(function: BtfType<'_>) -> bool {
    has_parameter(function, "aux")
}

fn has_parameter(function: BtfType<'_>, name: &str) -> bool {
    function
        .next_type()
        .and_then(|ty| FuncProto::try_from(ty).ok())
        .is_some_and(|prototype| {
            (0..prototype.len()).any(|at| {
                prototype
                    .get(at)
                    .is_some_and(|p| p.name == Some(OsStr::new(name)))
            })
        })
}
