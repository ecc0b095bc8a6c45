import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import optax
import pytest
from flax import nnx

from lectures_jax import train
from lectures_jax.train.checkpoint import Checkpoints
from lectures_jax.train.manifest import Manifest, write_manifest
from lectures_jax.train.manifest import _hashes as hashes_of
from tests.train.nets import Affine, Net, assert_same, points, squared


def state_at(step, *, model=None):
    """A state whose numbers tell the step."""
    _, state = train.init(jax.random.key(step), model or Affine(rngs=nnx.Rngs(0)), optax.adam(0.1))
    params = jax.tree.map(lambda x: x * 0 + step, state.params)
    return state._replace(params=params, step=state.step + step)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A folder with checkpoints of steps 10 and 20."""
    folder = tmp_path_factory.mktemp("template") / "checkpoints"
    store = Checkpoints(folder, best=None)
    for step in (10, 20):
        store.save(step, state_at(step), {"step": step}, {"next_index": step})
    store.close()
    return folder


@pytest.fixture
def folder(template, tmp_path):
    return shutil.copytree(template, tmp_path / "checkpoints")


def restore(folder):
    store = Checkpoints(folder, best=None)
    try:
        return store.restore(state_at(0))
    finally:
        store.close()


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_newest_checkpoint_comes_back_bit_for_bit(folder):
    restored = restore(folder)
    assert (restored.step, restored.position) == (20, {"next_index": 20})
    expected = state_at(20)
    assert_same(restored.state._replace(key=None), expected._replace(key=None))
    assert restored.state.key == expected.key


def test_an_empty_folder_holds_no_checkpoint(tmp_path):
    assert restore(tmp_path / "new" / "checkpoints") is None


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def add_one_beside(path):
    (path.parent / "stray").touch()


@pytest.mark.parametrize("damage", [flip_a_bit, truncate, os.unlink, add_one_beside])
def test_any_damage_is_reported_and_the_one_before_is_used(damage, folder, template, caplog):
    for number, original in enumerate(files(template / "00000020")):
        if damage in (flip_a_bit, truncate) and not original.stat().st_size:
            continue
        hurt = shutil.copytree(template, folder.parent / str(number))
        damage(hurt / original.relative_to(template))
        caplog.clear()
        restored = restore(hurt)
        assert restored.step == 10
        assert_same(restored.state.params, state_at(10).params)
        (line,) = caplog.messages
        assert line.startswith("checkpoint of step 20 left out: ")
        assert str(hurt / "00000020") in line
        if damage is os.unlink:
            assert f"{hurt / original.relative_to(template)} is missing" in line


def test_a_checkpoint_without_any_file_is_reported(folder, caplog):
    shutil.rmtree(folder / "00000020")
    (folder / "00000020").mkdir()
    assert restore(folder).step == 10
    assert "manifest.json is missing" in caplog.text


def test_a_checkpoint_that_is_gone_leaves_the_one_before(folder):
    shutil.rmtree(folder / "00000020")
    assert restore(folder).step == 10


def test_no_sound_checkpoint_is_an_error_and_not_a_new_beginning(folder, caplog):
    for step in (10, 20):
        truncate(folder / f"{step:08d}" / "progress.json")
    with pytest.raises(RuntimeError, match=r"no checkpoint in .* is sound; remove the folder"):
        restore(folder)
    assert len(caplog.messages) == 2


def test_an_interrupted_save_is_cleared_away(folder):
    (folder / "saving-00000030").mkdir()
    assert restore(folder).step == 20
    assert not (folder / "saving-00000030").exists()


def test_the_checkpoint_of_another_model_is_refused(folder):
    store = Checkpoints(folder, best=None)
    with pytest.raises(ValueError, match=r"does not fit the model.*absent"):
        store.restore(state_at(0, model=Net(rngs=nnx.Rngs(0))))
    wide = Affine(rngs=nnx.Rngs(0))
    wide.linear = nnx.Linear(5, 1, rngs=nnx.Rngs(0))
    expected = r"params\['linear'\]\['kernel'\] is float32\[3, 1\] there and float32\[5, 1\] here"
    with pytest.raises(ValueError, match=expected):
        store.restore(state_at(0, model=wide))
    store.close()


def save_all(store, scores):
    for step, score in scores.items():
        store.save(step, state_at(step), {"step": step}, None, evaluation={"score": score})
    store.close()


def test_the_two_newest_and_the_best_are_kept(tmp_path):
    store = Checkpoints(tmp_path, best="score")
    save_all(store, {1: 0.5, 2: 0.9, 3: float("nan"), 4: 0.9, 5: 0.2, 6: 0.1})
    assert sorted(os.listdir(tmp_path)) == ["00000002", "00000005", "00000006"]


def test_a_best_checkpoint_that_is_damaged_gives_way_to_the_next(tmp_path, caplog):
    save_all(Checkpoints(tmp_path, best="score"), {1: 0.9, 2: 0.5, 3: 0.7})
    store = Checkpoints(tmp_path, best="score")
    store.restore(state_at(0))
    assert store.restore_best(state_at(0)).step == 1
    flip_a_bit(tmp_path / "00000001" / "progress.json")
    assert store.restore_best(state_at(0)).step == 3
    assert "00000001/progress.json is damaged" in caplog.text
    store.close()


def test_a_damaged_checkpoint_is_replaced_when_its_step_comes_again(folder):
    truncate(folder / "00000020" / "progress.json")
    store = Checkpoints(folder, best=None)
    assert store.restore(state_at(0)).step == 10
    store.save(20, state_at(20), {"step": 20}, None)
    store.close()
    assert restore(folder).step == 20


def test_a_save_is_not_disturbed_by_the_steps_that_follow(tmp_path):
    class Wide(nnx.Module):
        def __init__(self):
            self.w = nnx.Param(jax.numpy.zeros((500, 500)))

        def __call__(self, x, *, key=None):
            return self.w.sum()

    def objective(model, batch, key):
        return model(batch), {}

    structure, state = train.init(jax.random.key(0), Wide(), optax.sgd(1.0))
    step = train.make_step(structure, objective, optax.sgd(1.0))
    store = Checkpoints(tmp_path, best=None)
    for number in range(1, 13):
        state, _ = step(state, {"x": np.zeros(1)})
        if number % 4 == 0:
            store.save(number, state, {}, None)
    store.close()
    store = Checkpoints(tmp_path, best=None)
    restored = store.restore(state)
    store.close()
    np.testing.assert_array_equal(restored.state.params["w"], np.full((500, 500), -12.0))


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"out must be a writable folder, got .*/file"):
        train.fit(
            jax.random.key(0),
            Affine(rngs=nnx.Rngs(0)),
            squared,
            optax.sgd(0.1),
            points(1),
            out=tmp_path / "file",
        )


def test_a_full_disk_is_an_error_and_leaves_the_sound_checkpoints(folder, root):
    # Larger files than 300 bytes fail, as all do on a full disk.
    code = """
import resource, sys
from pathlib import Path
from tests.train.test_checkpoint import Checkpoints, state_at
store, state = Checkpoints(Path(sys.argv[1]), best=None), state_at(30)
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
store.save(30, state, {}, None)
store.close()
"""
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, check=False, cwd=root, capture_output=True, text=True)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert line.startswith("OSError: File too large: the checkpoint ")
    assert line.endswith("00000030 cannot be written.")
    assert "Exception in thread" not in done.stderr
    assert restore(folder).step == 20


def test_a_save_that_fails_leaves_no_thread_that_waits(folder):
    # As an ordinary user's folder of mode 500, of which root knows nothing.
    store = Checkpoints(folder, best=None)
    shutil.rmtree(folder)
    folder.touch()
    with pytest.raises(OSError, match=r"Not a directory: the checkpoint .*00000030 cannot be"):
        store.save(30, state_at(30), {}, None)
    store.close()
    end = time.monotonic() + 10
    while threading.active_count() > 1 and time.monotonic() < end:
        time.sleep(0.05)
    waiting = [thread.name for thread in threading.enumerate() if "Signaling" in repr(thread)]
    assert not waiting


def copy_over(folder):
    shutil.rmtree(folder / "00000020")
    shutil.copytree(folder / "00000010", folder / "00000020")
    return r"manifest\.json is of step 10"


def write_deep_json(name):
    def damage(folder):
        (folder / "00000020" / name).write_text("[" * 100_000)
        return rf"{name} is damaged"

    return damage


def rewrite(name, change):
    """Changes a file and makes the manifest agree, as somebody who wants to be believed would."""

    def damage(folder):
        step = folder / "00000020"
        content = json.loads((step / name).read_text())
        message = change(content)
        (step / name).write_text(json.dumps(content))
        manifest = manifest_of(step)
        write_manifest(step, manifest._replace(files=hashes_of(step)))
        return message

    return damage


def manifest_of(step):
    fields = json.loads((step / "manifest.json").read_text())
    return Manifest(**{name: fields[name] for name in Manifest._fields})


def drop(field):
    def change(content):
        del content[field]
        return rf"progress\.json is damaged: it has no {field}"

    return change


def another_step(content):
    content["step"] = 19
    return r"progress\.json is of step 19"


def take_the_arrays_of_another_step(folder):
    step = folder / "00000020"
    shutil.rmtree(step / "state")
    shutil.copytree(folder / "00000010" / "state", step / "state")
    write_manifest(step, manifest_of(step)._replace(files=hashes_of(step)))
    return "its state is of step 10"


def take_the_arrays_away(folder):
    step = folder / "00000020"
    for path in files(step / "state"):
        path.write_bytes(b"")
    write_manifest(step, manifest_of(step)._replace(files=hashes_of(step)))
    return "Orbax cannot read it"


def link_a_file(folder):
    path = folder / "00000020" / "progress.json"
    path.rename(folder / "outside")
    path.symlink_to(folder / "outside")
    return r"progress\.json is no regular file"


def put_a_pipe_beside(folder):
    os.mkfifo(folder / "00000020" / "state" / "pipe")
    return "pipe is no regular file"


@pytest.mark.parametrize(
    "damage",
    [
        copy_over,
        write_deep_json("manifest.json"),
        write_deep_json("progress.json"),
        *(rewrite("progress.json", drop(name)) for name in ("step", "position", "tree", "key")),
        rewrite("progress.json", another_step),
        take_the_arrays_of_another_step,
        take_the_arrays_away,
        link_a_file,
        put_a_pipe_beside,
    ],
)
def test_a_checkpoint_is_trusted_only_if_all_of_it_agrees(folder, caplog, damage):
    message = damage(folder)
    restored = restore(folder)
    assert restored.step == 10
    assert_same(restored.state.params, state_at(10).params)
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("lect")]
    assert line.startswith("checkpoint of step 20 left out: ")
    assert re.search(message, line)


def test_what_is_no_checkpoint_is_neither_read_nor_removed(folder, tmp_path, caplog):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "kept").touch()
    for name in ("²", "saving-x", "saving-00000040", "00000050"):
        (folder / name).symlink_to(tmp_path / "mine")
    for name in ("29", "0000000000", "00000060.bak", "saving-y"):
        (folder / name).mkdir()
    (folder / "00000070").write_text("a file")
    foreign = {path.name for path in folder.iterdir()} - {"00000010", "00000020"}
    store = Checkpoints(folder, best=None)
    assert store.restore(state_at(0)).step == 20
    for step in (80, 90):
        store.save(step, state_at(step), {"step": step}, None)
    store.close()
    assert not caplog.messages
    assert {path.name for path in folder.iterdir()} == foreign | {"00000080", "00000090"}
    assert (tmp_path / "mine" / "kept").exists()


def test_another_optimizer_is_refused_by_what_differs(folder):
    store = Checkpoints(folder, best=None)
    for optimizer in (optax.sgd(0.1), optax.chain(optax.adam(0.1), optax.identity())):
        _, state = train.init(jax.random.key(0), Affine(rngs=nnx.Rngs(0)), optimizer)
        with pytest.raises(ValueError, match=r"does not fit the model and optimizer: optimizer_st"):
            store.restore(state)
    store.close()


def test_the_manifest_lists_every_file(folder):
    step = folder / "00000020"
    manifest = json.loads((step / "manifest.json").read_text())
    names = {path.relative_to(step).as_posix() for path in files(step)}
    assert names == manifest["files"].keys() | {"manifest.json"}
    assert manifest["step"] == 20
