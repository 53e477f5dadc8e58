"""The whole program stands in the wheel: `python -m gelu`, and `gelu`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import gelu

PROGRAM = [sys.executable, "-m", "gelu"]


def run(*arguments, **options):
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, **options)


def test_it_is_the_program():
    assert run("--version").stdout == "gelu 0.1.0\n"
    models = json.loads(run("models", "--json").stdout)
    assert "lenet5" in str(models)
    usage = run("audit")
    assert usage.returncode == 2 and "Usage: gelu audit" in usage.stderr
    failed = run("audit", "nowhere")
    assert failed.returncode == 1 and failed.stderr.startswith("error: ") and "next: " in failed.stderr


def test_the_console_script_is_there():
    script = Path(sys.executable).with_name("gelu")
    assert subprocess.run([script, "--version"], capture_output=True, text=True).stdout == "gelu 0.1.0\n"


def test_it_starts_servers_of_its_own(tmp_path):
    path = tmp_path / "m.safetensors"
    architecture = {"input": [4], "layers": [{"layer": "dense", "outputs": 3}]}
    gelu.fresh(architecture, name="iris").save(path)
    ran = run("infer", "--model", path, "--dataset", "iris", "--backend", "insecure-clear", "--json", "--count", "5")
    answer = json.loads(ran.stdout)
    assert answer["count"] == 5 and answer["predictions_equal_plaintext"] is True


def test_a_module_of_the_same_name_in_the_folder_is_not_run(tmp_path, model):
    """Servers are started in whatever folder the user is in."""
    (tmp_path / "gelu").mkdir()
    (tmp_path / "gelu" / "__init__.py").write_text("raise SystemExit('the wrong module')")
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        with gelu.serve(model, backend="insecure-clear") as server:
            assert server.url
    finally:
        os.chdir(before)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 0), (signal.SIGTERM, 0)])
def test_signals_end_it_in_order(tmp_path, number, code):
    path = tmp_path / "m.safetensors"
    gelu.fresh({"input": [9], "layers": [{"layer": "dense", "outputs": 3}]}).save(path)
    gelu._native.make_authority(tmp_path / "certs")
    command = [*PROGRAM, "serve", "--json", "--listen", "127.0.0.1:0", "--certs", tmp_path / "certs"]
    command += ["--backend", "insecure-clear", "--model", path]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "address" in json.loads(process.stdout.readline())
    process.send_signal(number)
    closed, said = process.communicate(timeout=30)
    assert process.returncode == code and json.loads(closed)["sessions"] == 0
    assert "Traceback" not in said


def test_a_signal_in_the_middle_has_the_programs_exit_code(tmp_path):
    process = subprocess.Popen(
        [*PROGRAM, "train", "--plaintext", "--dataset", "iris", "--epochs", "100000000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in said


def test_the_program_reads_models_of_the_package(tmp_path, model):
    path = tmp_path / "m.safetensors"
    model.save(path)
    audit = json.loads(run("audit", path, "--json").stdout)
    assert audit["inference"]["verdict"] == model.audit().verdict
