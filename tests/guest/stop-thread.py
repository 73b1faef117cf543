"""Stops one thread of a process, which goes on: stop-thread.py TID

Says that it is ready, stops the thread once it is sent a line, and lets it go again once it is sent another.
"""

import ctypes
import os
import sys

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000

tid = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
print("ready", flush=True)
sys.stdin.readline()
for request in PTRACE_SEIZE, PTRACE_INTERRUPT:
    if libc.ptrace(request, tid, None, None) != 0:
        sys.exit(f"thread {tid} cannot be stopped: {os.strerror(ctypes.get_errno())}")
os.waitpid(tid, WALL)
print("stopped", flush=True)
sys.stdin.readline()
libc.ptrace(PTRACE_DETACH, tid, None, None)
