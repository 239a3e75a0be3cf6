"""Values of --cfg-options, and errors of users as one line."""

import pytest

from medkit.apis.cli import common_parser, one_line_errors, parse_value
from medkit.errors import DatasetError


@pytest.mark.parametrize(
    "text, value",
    [
        ("3", 3),
        ("1e-3", 1e-3),
        ("true", True),
        ("None", None),
        ("work_dirs/a", "work_dirs/a"),
        ("(1, 2)", (1, 2)),
        ("1,2", (1, 2)),
        ("cyst,HCC", ["cyst", "HCC"]),
        ("dict(a=1,b=2)", ["dict(a=1", "b=2)"]),
        ("[{'type': 'medkit.EpochSeedHook', 'seed': 1}]", [{"type": "medkit.EpochSeedHook", "seed": 1}]),
        ("[1,(2", "[1,(2"),
        ("", ""),
    ],
)
def test_parse_value(text: str, value) -> None:
    assert parse_value(text) == value and type(parse_value(text)) is type(value)


def test_settings_are_collected() -> None:
    args = common_parser("").parse_args(["c.py", "--cfg-options", "a.b=1", "c=x=y"])
    assert args.cfg_options == {"a.b": 1, "c": "x=y"}


def test_word_without_equals(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        common_parser("").parse_args(["c.py", "--cfg-options", "img_size"])
    assert "expected key=value" in capsys.readouterr().err


def test_user_error_is_one_line(capsys: pytest.CaptureFixture) -> None:
    @one_line_errors
    def main() -> None:
        raise DatasetError("no such set; make one")

    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2 and capsys.readouterr().err == "error: no such set; make one\n"


def test_other_errors_keep_their_traceback() -> None:
    @one_line_errors
    def main() -> None:
        raise RuntimeError("a fault of ours")

    with pytest.raises(RuntimeError):
        main()


def test_error_of_a_loader_worker_is_one_line(capsys: pytest.CaptureFixture) -> None:
    @one_line_errors
    def main() -> None:
        raise DatasetError(
            "Caught DatasetError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
            "  File x\nmedkit.errors.DatasetError: image a.png cannot be decoded; replace the file\n"
        )

    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err == "error: image a.png cannot be decoded; replace the file\n"
