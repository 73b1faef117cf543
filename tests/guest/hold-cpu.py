"""Holds the CPU that it runs on for so many milliseconds, in the kernel and where nothing can take it away: hold-cpu.py MS

Says that it is ready, and does so once it is sent a line. A BPF program on the tracepoint of this process's system calls, where preemption is off, clears memory for that long.
"""

import ctypes
import os
import struct
import sys
import time

SYS_BPF = 321
MAP_CREATE, PROG_LOAD, RAW_TRACEPOINT_OPEN = 0, 5, 17
ARRAY, RAW_TRACEPOINT = 2, 17
KTIME_GET_NS, GET_CURRENT_PID_TGID, PROBE_READ_KERNEL = 5, 14, 113
BYTES, PIECES = 16 << 20, 1000

libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, layout, *values):
    """The bpf system call with these attributes; returns a file descriptor."""
    attributes = ctypes.create_string_buffer(struct.pack(layout, *values), 160)
    fd = libc.syscall(SYS_BPF, command, attributes, len(attributes))
    if fd < 0:
        sys.exit(f"bpf command {command}: {os.strerror(ctypes.get_errno())}")
    return fd


def insn(code, dst=0, src=0, off=0, imm=0):
    return struct.pack("<BBhi", code, src << 4 | dst, off, imm)


def call(helper):
    return insn(0x85, imm=helper)


def set_to(register, value):
    return insn(0xB7, register, imm=value)


def load_wide(register, kind, value):
    low, high = (ctypes.c_int32(half).value for half in (value & 0xFFFFFFFF, value >> 32))
    return insn(0x18, register, kind, imm=low) + insn(0, imm=high)


hold_ns = int(sys.argv[1]) * 1_000_000
memory = bpf(MAP_CREATE, "<IIII", ARRAY, 4, BYTES, 1)

# What cannot be read is filled with zeros instead.
piece = load_wide(1, 2, memory) + set_to(2, BYTES) + set_to(3, 0) + call(PROBE_READ_KERNEL)
piece += call(KTIME_GET_NS) + insn(0x1F, 0, 6) + insn(0xAD, 0, 7, 1)  # r0 -= r6, over the next if r0 < r7
length = len(piece) // 8 + 1
hold = call(KTIME_GET_NS) + insn(0xBF, 6, 0) + load_wide(7, 0, hold_ns)  # r6 = r0
for left in reversed(range(PIECES)):
    hold += piece + insn(0x05, off=left * length)  # to the end
program = call(GET_CURRENT_PID_TGID) + insn(0x77, 0, imm=32)  # r0 >>= 32
program += insn(0x55, 0, off=len(hold) // 8, imm=os.getpid())  # to the end if r0 is another
program += hold + set_to(0, 0) + insn(0x95)

code = ctypes.create_string_buffer(program)
licence = ctypes.create_string_buffer(b"GPL")
loaded = bpf(
    PROG_LOAD, "<IIQQIIQ", RAW_TRACEPOINT, len(program) // 8, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0
)
name = ctypes.create_string_buffer(b"sys_enter")
print("ready", flush=True)
sys.stdin.readline()
begun = time.monotonic()
os.close(bpf(RAW_TRACEPOINT_OPEN, "<QI", ctypes.addressof(name), loaded))
print(f"held it for {1000 * (time.monotonic() - begun):.0f} ms", flush=True)
