"""An event listener as small as can be: it writes what it is told to its stderr."""

import sys

while True:
    print("READY", flush=True)
    header = dict(pair.split(":") for pair in sys.stdin.readline().split())
    payload = sys.stdin.read(int(header["len"]))
    print(header["eventname"], payload, file=sys.stderr, flush=True)
    print("RESULT 2\nOK", end="", flush=True)
