"""What every measurement of a peer says about itself, and how it is timed."""

import json
import os
import platform
import resource
import statistics
import sys
import time
from datetime import datetime, timezone
from importlib import metadata


def processor():
    """The processor's name as Linux tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def machine():
    """Where and when this runs."""
    return {
        "machine": processor(),
        "processors": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "load": os.getloadavg()[0],
    }


def versions(*packages):
    """Name and version of each, as installed."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in packages)


def median_seconds(run, least=5, seconds=1.0, clock=time.perf_counter):
    """The median time of `run`: at least so many times, for at least so long."""
    times, end = [], time.perf_counter() + seconds
    while len(times) < least or time.perf_counter() < end:
        start = clock()
        run()
        times.append(clock() - start)
    return statistics.median(times)


def emit(peer, what, seconds, **more):
    """One JSON line."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    row = {"peer": peer, "what": what, "seconds": seconds, **more, "peak_memory_bytes": peak}
    print(json.dumps(row | machine()), flush=True)


def missing(peer, reason):
    """Says that a peer is not there, and ends with the status that `run` knows."""
    print(json.dumps({"peer": peer, "missing": str(reason)}), flush=True)
    sys.exit(3)


def wrong(peer, what, got, expected):
    """An answer that differs: no time is reported for it."""
    sys.exit(f"{peer}: {what} is wrong, got {got}, expected {expected}")
