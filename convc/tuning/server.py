"""A machine that measures for others: `python -m convc.tuning.server --tracker HOST:PORT --key K`.

It is a TVM RPC server with one more function, and like every such server it runs the code that it is sent: only for
networks in which everyone is trusted.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from platform import node

from convc.runtime import lacking
from convc.targets.measurements import TuningError
from convc.tuning.job import Job
from convc.tuning.measuring import supervise
from convc.tuning.processes import end_with_parent
from convc.tuning.remote import LIBRARY, MEASURE, address


def register() -> None:
    """Add the function to the sessions of this process, which TVM has started to serve."""
    import tvm_ffi

    end_with_parent()
    tvm_ffi.register_global_func(MEASURE, _measure, override=True)


def _measure(target: str, job: str) -> str:
    """What becomes of the candidates of a job: those two files were sent to this session. As JSON, or why not."""
    import tvm_ffi

    path = tvm_ffi.get_global_func("tvm.rpc.server.workpath")
    if missing := lacking(json.loads(target)):
        return json.dumps({"error": missing})
    try:
        findings = list(supervise(Job.from_bytes(Path(path(job)).read_bytes()), Path(path(LIBRARY))))
    except TuningError as error:
        return json.dumps({"error": str(error)})
    return json.dumps({"findings": [asdict(finding) | {"machine": node()} for finding in findings]})


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(prog="python -m convc.tuning.server", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tracker", type=address, required=True, metavar="HOST:PORT", help="where to register")
    parser.add_argument("--key", required=True, metavar="K", help="under which name: that of this kind of machine")
    parser.add_argument("--host", default="0.0.0.0", help="the address to listen at (default: all)")
    parser.add_argument("--port", type=int, default=9091, metavar="N", help="the first port to try (default 9091)")
    arguments = parser.parse_args(argv)
    from tvm import rpc

    server = rpc.Server(
        arguments.host,
        arguments.port,
        arguments.port + 100,
        key=arguments.key,
        tracker_addr=arguments.tracker,
        server_init_callback=register,
    )
    print(f"measuring for {arguments.key} at port {server.port}", flush=True)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()
    server.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
