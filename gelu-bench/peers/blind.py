"""Runs SPU-Cheetah and gelu's blind queries in turns; prints every line as JSON, then times, bytes and ratios.

Called by `blind`. Both hide everything but sizes from the server and everything but sizes and scores from the client, against
parties that follow the protocol; both have all processors, and both talk over loopback, gelu in two processes and over
TLS. Cold is a query from pixels to scores with nothing prepared for it: keys and base transfers are made before,
at SPU a stock of transfers, too, of which a query takes a small part. What the stock took is in `first_query`, and counts
in no ratio. Every answer is checked before it is timed: SPU's against NumPy, gelu's bit for bit.

In each round every side runs once. Times are the medians over the rounds of the medians of one run. A ratio is one
within a round, so that other work on the machine falls on both of its sides.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

from report import machine
from turns import lines, printed, python

# SPU computes a sigmoid by approximation, and ReLU at less cost: the same network with ReLU is the harder one to beat.
SIDES = {"lenet5": ("relu",), "mnist-dense": ("sigmoid", "relu")}


def spu(options, network, function):
    """One run of SPU: what a query took."""
    weights = ["--weights", str(options.models / f"{network}.safetensors")] if options.models else []
    command = python("spu_networks.py", "--network", network, "--function", function, "--runs", str(options.runs), *weights)
    (row,) = lines(command)
    print(json.dumps(row), flush=True)
    return {"cold": row["seconds"], "processor": row["processor_s"], "bytes": row["bytes"]}


def gelu(options, network):
    """One run of gelu: what a query took."""
    model = ["--model", options.models / f"{network}.safetensors"] if options.models else ["--network", network]
    command = [options.gelu, "bench", "latency", *model, "--mode", "blind", "--answer", "scores", "--runs", str(options.runs)]
    row = json.loads(printed([*command, "--json"]))
    print(json.dumps(row), flush=True)
    if row["machine"]["build"] != "release":
        sys.exit(f"{options.gelu} is a {row['machine']['build']} build: make one with cargo build --release -p gelu-cli")
    cold = row["cold"]
    return {
        "cold": row["cold_s"],
        "processor": cold["client_cpu_s"] + cold["server_cpu_s"],
        "bytes": cold["bytes_up"] + cold["bytes_down"],
        "online": row["online_s"],
    }


def main():
    parser = argparse.ArgumentParser(prog="blind DIR", description="Blind queries side by side.")
    parser.add_argument("--gelu", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=10, help="queries of each network and round")
    parser.add_argument("--models", type=Path, help="folder of trained weights, the same for both sides")
    options = parser.parse_args()
    ours, theirs = {}, {}
    for _ in range(options.rounds):
        for network, functions in SIDES.items():
            ours.setdefault(network, []).append(gelu(options, network))
            # Trained weights bring the activation that they were trained with.
            for function in functions[:1] if options.models else functions:
                theirs.setdefault((network, function), []).append(spu(options, network, function))
    here = machine()
    print(f"\n{here['machine']}, {os.cpu_count()} processors, load {here['load']:.1f}, {here['date']}, {options.rounds} rounds of {options.runs} queries")
    show(ours, theirs)


def show(ours, theirs):
    """Three rows for each network and activation, SPU's beside ours."""
    print("\n| network, one image | SPU's activation | | gelu, cold | SPU, cold | times as much | gelu, tickets ready |")
    print("| --- | --- | --- | ---: | ---: | ---: | ---: |")
    for (network, function), rounds in theirs.items():
        mine = ours[network]

        def row(what, key, unit, online=""):
            ratios = [their[key] / our[key] for their, our in zip(rounds, mine)]
            left, right = (short(statistics.median(run[key] for run in side) / unit) for side in (mine, rounds))
            spread = f"{short(statistics.median(ratios))} ({short(min(ratios))} to {short(max(ratios))})"
            print(f"| {network} | {function} | {what} | {left} | {right} | {spread} | {online} |")

        row("clock, ms", "cold", 1e-3, short(statistics.median(run["online"] for run in mine) / 1e-3))
        row("processor time of both, ms", "processor", 1e-3)
        row("bytes both ways, MB", "bytes", 1e6)


def short(number):
    """Three digits, without an exponent."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"


if __name__ == "__main__":
    main()
