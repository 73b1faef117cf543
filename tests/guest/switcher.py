"""Changes the policy of the scx_mpg that runs, through its control socket: switcher.py CHANGES SECONDS [POLICY...]

All policies in turn unless some are named. Without a process of its own for each change, which would be a load itself.
"""

import json
import socket
import sys
import time

changes, seconds = int(sys.argv[1]), float(sys.argv[2])
names = sys.argv[3:] or ["latency", "throughput", "global", "fifo", "mpg"]
begun, slowest = time.monotonic(), 0.0
for change in range(changes):
    time.sleep(max(0, begun + change * seconds / changes - time.monotonic()))
    asked = time.monotonic()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("/run/scx_mpg/control.sock")
        request = {"version": 1, "request": {"set": {"policy": names[change % len(names)]}}}
        connection.sendall(json.dumps(request).encode() + b"\n")
        answer = json.loads(connection.makefile().readline())
    if "error" in answer:
        sys.exit(str(answer))
    slowest = max(slowest, time.monotonic() - asked)
print(f"{changes} changes in {time.monotonic() - begun:.0f} s, the slowest answer after {1000 * slowest:.0f} ms")
