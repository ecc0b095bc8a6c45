"""Several processes on one machine train as one does, stop together, and end with each other."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.train.on_devices import descend, parameters


@pytest.fixture
def start(root):
    """Starts so many processes; those that are left are killed in the end."""
    running = []

    def start(folder, count, *options):
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        environment = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "NPROC": "4"}
        for process in range(count):
            command = [sys.executable, "-m", "tests.train.on_processes"]
            command += map(str, (folder, port, count, process, *options))
            with (folder / f"{process}.log").open("w") as log:
                options_of_all = {"cwd": root, "env": environment, "stdout": log, "stderr": log}
                running.append(subprocess.Popen(command, **options_of_all))
        return running[-count:]

    yield start
    for process in running:
        process.kill()
        process.wait()


def ends(folder, processes, timeout=300):
    """What each process printed, and its exit code."""
    codes = [process.wait(timeout) for process in processes]
    return [(folder / f"{i}.log").read_text() for i in range(len(processes))], codes


def result(folder, name):
    with np.load(folder / f"{name}.npz") as file:
        return dict(file)


def first_rows(folder, processes):
    """Waits until the run has written rows."""
    path = folder / "run" / "metrics.jsonl"
    while not (path.exists() and path.stat().st_size):
        assert all(process.poll() is None for process in processes), ends(folder, processes)
        time.sleep(0.1)


@pytest.fixture(scope="module")
def expected():
    model, rows = descend(None)
    return {"parameters": parameters(model), "losses": np.array([row["loss"] for row in rows])}


def assert_close(there, expected, names=("parameters", "losses")):
    for name in names:
        error = np.linalg.norm(there[name] - expected[name])
        assert error < 1e-5 * np.linalg.norm(expected[name]), name


def test_four_processes_train_as_one_and_one_goes_on_from_their_checkpoint(
    tmp_path, start, expected
):
    logs, codes = ends(tmp_path, start(tmp_path, 4))
    assert codes == [0] * 4, logs
    results = [result(tmp_path, f"4-{process}") for process in range(4)]
    for there in results:
        assert_close(there, expected)
        np.testing.assert_array_equal(there["parameters"], results[0]["parameters"])
    assert not (tmp_path / "nowhere").exists()  # the first process says where files are
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 4
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "00000020")
    model, rows = descend(None, out=tmp_path / "run")
    alone = {"parameters": parameters(model), "losses": np.array([row["loss"] for row in rows])}
    assert_close(alone, expected)


def test_a_signal_to_one_stops_both_and_they_resume(tmp_path, start, expected):
    processes = start(tmp_path, 2, 0.3)
    first_rows(tmp_path, processes)
    processes[1].send_signal(signal.SIGTERM)
    logs, codes = ends(tmp_path, processes)
    assert codes == [75, 75], logs
    assert "stopped by a signal to another process after step" in logs[0]
    assert "stopped by SIGTERM after step" in logs[1]
    logs, codes = ends(tmp_path, start(tmp_path, 2))
    assert codes == [0, 0], logs
    assert "resuming at step" in logs[0]
    assert_close(result(tmp_path, "2-1"), expected, ["parameters"])


def test_when_one_dies_the_other_ends_with_a_message_and_both_resume(tmp_path, start, expected):
    processes = start(tmp_path, 2, 0.3)
    first_rows(tmp_path, processes)
    processes[1].kill()
    (log,), (code,) = ends(tmp_path, processes[:1], timeout=120)
    assert code != 0
    assert "another task died" in log
    logs, codes = ends(tmp_path, start(tmp_path, 2))
    assert codes == [0, 0], logs
    assert_close(result(tmp_path, "2-0"), expected)
