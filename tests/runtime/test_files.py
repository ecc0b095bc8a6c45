"""An object of JSON: what a file holds, and one line where it holds none."""

import pytest

from lectures_jax import runtime


def test_what_was_written_is_read(tmp_path):
    runtime.write_json(tmp_path / "a.json", {"é": [1, 2.5, None], "nan": float("nan")})
    assert runtime.read_json(tmp_path / "a.json") == {"é": [1, 2.5, None], "nan": None}


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", r"expected an object of JSON, got ''\."),
        (b"{", r"expected an object of JSON, got '\{'\."),
        (b"[" * 10**5, r"expected an object of JSON, got '\[{40}'\."),
        (b"1" * 10**4, r"expected an object of JSON, got '1{40}'\."),
        (b"\xff\n", r"expected an object of JSON, got '.\\n'\."),
        (b"[1]", r"expected an object of JSON, got '\[1\]'\."),
    ],
)
def test_anything_else_is_refused_in_one_line(tmp_path, content, got):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"a\.json: {got}") as error:
        runtime.read_json(tmp_path / "a.json")
    assert "\n" not in str(error.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    (tmp_path / "a.json").write_text("{}" + 9 * " ")
    with pytest.raises(ValueError, match=r"a\.json: expected at most 10 bytes, got 11\."):
        runtime.read_json(tmp_path / "a.json", max_bytes=10)
