"""Eight simulated devices train as one does, and a checkpoint of a mesh fits any other."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from lectures_jax import train
from tests.train.on_devices import STEPS, descend


@pytest.fixture(scope="module")
def results(tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("meshes")
    simulated = "--xla_force_host_platform_device_count=8"
    # With few threads and many queued steps the simulated devices of JAX 0.10 wait for each other.
    environment = os.environ | {"XLA_FLAGS": simulated, "NPROC": "16"}
    environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
    command = [sys.executable, "-m", "tests.train.on_devices", str(folder)]
    options = {"cwd": root, "env": environment, "timeout": 600, "stderr": subprocess.PIPE}
    done = subprocess.run(command, check=False, text=True, **options)
    sys.stderr.write(done.stderr)  # which pytest shows
    done.check_returncode()
    with np.load(folder / "results.npz") as file:
        return {**file, "printed": done.stderr}


TRAINED = [("descent", "8x1"), ("descent", "4x2"), ("adversarial", "4x2"), ("odd", "4x2")]
MADE = [("function", "4x2")]
RESUMED = [("resumed", "1"), ("resumed", "4x2"), ("resumed", "8x1")]


@pytest.mark.parametrize(("case", "name"), TRAINED + MADE + RESUMED)
def test_a_mesh_trains_as_one_device(results, case, name):
    expected = case if case in ("adversarial", "odd") else "descent"
    for part in ("losses", "parameters"):
        there, here = results[f"{case} {name} {part}"], results[f"{expected} 1 {part}"]
        # Not bit for bit: sums over a batch are those of the devices, in another order.
        assert np.linalg.norm(there - here) < 1e-5 * np.linalg.norm(here)


def test_large_parameters_are_split_over_fsdp_alone(results):
    split = {name: results[f"descent {name} split"] for name in ("1", "8x1", "4x2")}
    assert split == {"1": 0, "8x1": 0, "4x2": 1}


def test_several_processes_without_a_mesh_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="several processes need a mesh"):
        descend(None)


def test_a_model_made_by_a_function_is_whole_on_no_device(results):
    whole = 32 * 16 * 3 * 3 * 4  # bytes of the larger kernel
    assert results["descent 4x2 largest"] == whole
    assert results["function 4x2 largest"] == whole / 2


def test_an_evaluation_is_shared_by_the_devices(results):
    one, eight = (results[f"evaluated {name} losses"] for name in ("1", "4x2"))
    np.testing.assert_allclose(eight, one, rtol=1e-5)
    # Of eight examples each device has one; five are whole on each.
    assert results["evaluated 1 shards"].tolist() == [8, 5]
    assert results["evaluated 4x2 shards"].tolist() == [1, 5]


def test_a_batch_that_is_not_shared_out_is_noted_once(results):
    remark = f"step 0/{STEPS}  each of 8 devices has all 5 examples; 8 would be shared out\n"
    assert results["printed"].count("devices has all") == results["printed"].count(remark) == 1


def test_a_mesh_that_cannot_be_made_is_refused():
    count = jax.device_count()
    with pytest.raises(ValueError, match=f"must be {count}, the devices, got {count + 1} · 1"):
        train.make_mesh(data=count + 1)
    with pytest.raises(ValueError, match="at least 1, got 1 and 0"):
        train.make_mesh(data=1, fsdp=0)
