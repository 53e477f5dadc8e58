"""Runs each peer in a process of its own; prints its JSON lines, then a table of all.

Called by `run`. A peer that is not installed is named with the reason. Status 1 when one failed.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PEERS = ["phe", "heu", "tenseal", "orion", "crypten", "spu"]
# These compute ReLU as well, so they also run the networks that the split protocol runs.
SHARING = ("crypten", "spu")
# TenSEAL rotates once a diagonal, so that a query takes long; one is enough to know it.
TENSEAL_RUNS = 1


def commands(peer, options):
    """The command lines of a peer."""
    seed = ["--seed", str(options.seed)]
    if peer in ("phe", "heu"):
        return [["paillier_peers.py", peer, *seed]]
    runs = TENSEAL_RUNS if peer == "tenseal" else options.runs
    functions = ["square", "relu"] if peer in SHARING else ["square"]
    lines = [[f"{peer}_networks.py", "--network", "dense300", "--runs", str(runs), *seed]]
    for network in ("conv1", "lenet5"):
        for function in functions:
            line = [f"{peer}_networks.py", "--network", network, "--runs", str(runs), *seed]
            if peer in SHARING:
                line += ["--function", function]
            if options.models:
                suffix = "-square" if function == "square" else ""
                line += ["--weights", str(options.models / f"{network}{suffix}.safetensors")]
            if options.images:
                line += ["--images", str(options.images)]
            lines.append(line)
    return lines


def execute(line, patience):
    """The JSON objects of one process, or one that says why there are none."""
    print(" ".join(line), file=sys.stderr, flush=True)
    # A session of its own, so that parties which wait for each other can be ended together.
    process = subprocess.Popen(
        [sys.executable, str(HERE / line[0]), *line[1:]],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=patience)
        said = (err.strip().splitlines() or ["no reason given"])[-1]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, _ = process.communicate()
        said = f"no end after {patience} s (CrypTen's parties sometimes miss each other: run it again)"
    rows = [json.loads(text) for text in out.splitlines() if text.startswith("{")]
    if process.returncode not in (0, 3):
        rows.append({"peer": line[0], "what": " ".join(line[1:]), "failed": said})
    return [uniform(row) for row in rows]


def uniform(row):
    """Orion's object, whose form table 4 fixed, like the rows of the others."""
    if "system" not in row:
        return row
    named = {"peer": "Orion", "what": f"network/{row['network']}", "seconds": row["median_s"]}
    return named | {key: value for key, value in row.items() if key != "scores"}


def human(seconds):
    """Seconds for people."""
    for unit, size in [("s", 1), ("ms", 1e-3), ("µs", 1e-6)]:
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def table(rows):
    """One line a row, with what makes it comparable."""
    print(f"\n{'peer':16} {'what':28} {'time':>10} {'threads':>8} {'up':>10} {'down':>10} {'error':>9}")
    for row in rows:
        if "missing" in row:
            print(f"{row['peer']:16} MISSING: {row['missing']}")
            continue
        if "failed" in row:
            print(f"{row['peer']:16} FAILED: {row['what']}: {row['failed']}")
            continue
        up, down = (f"{row[key] / 1e3:.0f} kB" if key in row else "" for key in ("bytes_up", "bytes_down"))
        error = f"{row['max_error']:.2g}" if "max_error" in row else "exact"
        print(
            f"{row['peer']:16} {row['what']:28} {human(row['seconds']):>10} {row['threads']:>8}"
            f" {up:>10} {down:>10} {error:>9}"
        )
    loads = [row["load"] for row in rows if "load" in row]
    if loads:
        print(f"Load {min(loads):.1f} to {max(loads):.1f} on {os.cpu_count()} processors. Beside other work, times are too long.")


def main():
    parser = argparse.ArgumentParser(prog="run DIR", description="Other people's systems on our shapes.")
    parser.add_argument("--only", choices=PEERS, help="this peer alone")
    parser.add_argument("--json", action="store_true", help="JSON lines, no table")
    parser.add_argument("--models", type=Path, help="folder of trained weights")
    parser.add_argument("--images", type=Path, help="JSON list of lists of 784 pixels")
    parser.add_argument("--runs", type=int, default=5, help="queries of each network")
    parser.add_argument("--seed", type=int, default=1, help="of random weights, images and plaintexts")
    parser.add_argument("--patience", type=float, default=600, help="seconds for each process")
    options = parser.parse_args()
    rows = []
    for peer in [options.only] if options.only else PEERS:
        for line in commands(peer, options):
            answered = execute(line, options.patience)
            for row in answered:
                print(json.dumps(row), flush=True)
            rows += answered
            if any("missing" in row for row in answered):
                break
    if not options.json:
        table(rows)
    sys.exit(any("failed" in row for row in rows))


if __name__ == "__main__":
    main()
