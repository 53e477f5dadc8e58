"""Runs gelu-ckks, Lattigo and SEAL in turns on one processor; prints times, ratios, and every line as JSON.

Called by `ckks`. In each round every side runs once, in a process of its own, and the least time of all rounds
counts: what other programs take from a shared machine falls on all sides alike, and is mostly left out.
The peers' are the least processor times of single runs. Ours are the least by the clock, or the mean processor
time of all runs where that is less, so that what is left is counted against us.
The networks are the packed ones of gelu-fhe-baseline and those of Orion, a query from pixels to scores,
processor time, the least of the rounds: Orion's medians and our means; each at the moduli that its own packing takes.
"""

import argparse
import json
import os

from ckks_operations import SETS
from report import machine
from turns import lines, python

OPERATIONS = ("rotate", "multiply", "diagonals")
NETWORKS = ("conv1", "lenet5")


def operations(options):
    """The least time of each operation: {(peer, set): {operation: milliseconds}}."""
    least = {}
    for _ in range(options.rounds):
        rows = lines([options.operations, "--json"])
        for name in SETS:
            for peer in ("lattigo", "seal"):
                rows += lines(python("ckks_operations.py", peer, "--set", name, "--seconds", str(options.seconds)))
        for row in rows:
            print(json.dumps(row), flush=True)
            best = least.setdefault((row["peer"], row["set"]), {})
            for operation in OPERATIONS:
                best[operation] = min(best.get(operation, float("inf")), row[operation])
    return least


def networks(options):
    """The least of a query: {(system, network): milliseconds}."""
    least = {}

    def keep(system, network, milliseconds):
        print(json.dumps({"peer": system, "network": network, "milliseconds": milliseconds}), flush=True)
        least[system, network] = min(least.get((system, network), float("inf")), milliseconds)

    for _ in range(options.rounds):
        for row in lines([options.packed, "--json"]):
            keep(f"gelu, {row['answer'].lower()}", row["network"], row["milliseconds"])
        for network in NETWORKS:
            for row in lines(python("orion_networks.py", "--network", network, "--runs", str(options.runs))):
                keep("Orion (Lattigo)", network, row["processor_median_s"] * 1e3)
    return least


def main():
    parser = argparse.ArgumentParser(prog="ckks DIR", description="CKKS side by side on one processor.")
    parser.add_argument("--operations", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--packed", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["operations", "networks"], help="this part alone")
    parser.add_argument("--runs", type=int, default=5, help="queries of each network and round")
    parser.add_argument("--seconds", type=float, default=1.0, help="processor time of each operation of a peer")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the processor that all sides share")
    options = parser.parse_args()
    os.sched_setaffinity(0, {options.core})
    os.environ.update(GOMAXPROCS="1", OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", RAYON_NUM_THREADS="1")
    least = operations(options) if options.only != "networks" else {}
    queries = networks(options) if options.only != "operations" else {}
    here = machine()
    print(f"\n{here['machine']}, one processor of {os.cpu_count()}, load {here['load']:.1f}, {here['date']}, {options.rounds} rounds")
    if least:
        show_operations(least)
    if queries:
        show_networks(queries)


def show_operations(least):
    """A row for each set and operation."""
    print("\n| set | operation | gelu-ckks, ms | Lattigo, ms | times as long | SEAL, ms | times as long |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")

    def of(name):
        return {key[1]: times for key, times in least.items() if key[0].startswith(name)}

    ours, lattigo, seal = of("gelu"), of("Lattigo"), of("SEAL")
    for name in SETS:
        for operation in OPERATIONS:
            base, *others = (side[name][operation] for side in (ours, lattigo, seal))
            cells = " | ".join(f"{other:.2f} | {other / base:.1f}" for other in others)
            print(f"| {name} | {operation} | {base:.3f} | {cells} |")


def show_networks(queries):
    """A row for each network."""
    print("\n| network, one image | gelu, as computed, ms | gelu, hidden, ms | Orion, ms | times as long |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for network in NETWORKS:
        plain, hidden, orion = (queries[system, network] for system in ("gelu, plain", "gelu, hidden", "Orion (Lattigo)"))
        print(f"| {network} | {plain:.1f} | {hidden:.1f} | {orion:.0f} | {orion / plain:.1f}, {orion / hidden:.1f} |")


if __name__ == "__main__":
    main()
