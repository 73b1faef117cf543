// SPDX-License-Identifier: GPL-2.0-only
//! Compiles the kernel half and generates the bindings to it.

fn main() -> anyhow::Result<()> {
    scx_cargo::BpfBuilder::new()?
        .enable_intf("bpf/intf.h", "bpf_intf.rs")
        .enable_skel("bpf/main.bpf.c", "bpf")
        .build()
}
