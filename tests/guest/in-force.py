"""How long a change of settings takes to hold for those who run: in-force.py SCX_MPG FILE COMM KEY=VALUE...

Asks the scx_mpg that runs for the change through its control socket, while `scx_mpg why` writes down in FILE who has which slice.
Prints, in microseconds, the longest slice of a task of that name, and how far any reaches beyond the answer and 10 ms.
"""

import json
import pathlib
import socket
import subprocess
import sys
import time

AFTER_US, WATCHED_S = 10_000, 0.5

program, trace, comm = sys.argv[1:4]
changes = {key: int(value) for key, value in (change.split("=") for change in sys.argv[4:])}

watch = [program, "why", "--for", str(3 * WATCHED_S), "--over-us", "10000000", "--perfetto", trace]
with subprocess.Popen(watch, stdout=subprocess.DEVNULL) as watcher:
    time.sleep(2 * WATCHED_S)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect("/run/scx_mpg/control.sock")
        connection.sendall(json.dumps({"version": 1, "request": {"set": changes}}).encode() + b"\n")
        answer = json.loads(connection.makefile().readline())
    # By this name it is in the trace from here on.
    pathlib.Path("/proc/self/comm").write_text("answered")
    time.sleep(0.001)
if "error" in answer:
    sys.exit(str(answer))

runs = [event for event in json.loads(pathlib.Path(trace).read_text())["traceEvents"] if event["ph"] == "X"]
answered = min(run["ts"] for run in runs if run["name"] == "answered")
slices = [run for run in runs if run["name"] == comm]
longest = max(run["dur"] for run in slices)
beyond = max(run["ts"] + run["dur"] - max(run["ts"], answered + AFTER_US) for run in slices)
print(f"{longest:.0f} {beyond:.0f}")
