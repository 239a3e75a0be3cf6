"""Studies of images: order, labels, which images are taken, one augmentation or one for each, faults by name."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from medkit.data.image_bags import ImageBagDataset
from medkit.data.replay import random_state, replayed, replays, set_random_state
from medkit.data.study_images import natural
from medkit.errors import ConfigError, DatasetError
from tests.image_bag_set import read_rows, write_image_bags, write_rows

LOAD = [dict(type="medkit.LoadMedicalImage")]
AUGMENT = [
    *LOAD,
    dict(type="mmpretrain.RandomFlip", prob=0.5, direction=["horizontal", "vertical"]),
    dict(type="mmpretrain.RandomResizedCrop", scale=24),
    dict(type="mmpretrain.ColorJitter", brightness=0.5, contrast=0.5),
    dict(type="medkit.RandomQuarterTurn"),
]


@pytest.fixture(params=[True, False], ids=["table", "folders"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return write_image_bags(tmp_path / "set", table=request.param)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_image_bags(tmp_path / "set")


def make(root: Path, **options) -> ImageBagDataset:
    return ImageBagDataset(str(root), **({"pipeline": LOAD} | options))


def places(sample: dict) -> list[int]:
    return sample["inputs"][:, 0, 0, 0].tolist()


def test_studies_come_whole_and_in_order(root: Path) -> None:
    """By the column order, or by the numbers in the files' names: 9.png before 10.png."""
    data = make(root, split="train", num_classes=2)
    assert [data.bags.ids[i] for i in range(4)] == ["s00", "s01", "s02", "s03"] and data.labels.tolist() == [0, 0, 1, 1]
    for index in range(4):
        sample = data[index]
        assert sample["inputs"].dtype == torch.uint8 and sample["inputs"].shape == (3 + index % 3, 3, 32, 32)
        assert places(sample) == list(range(3 + index % 3))
        assert sample["data_samples"].slide_id == f"s0{index}" and sample["data_samples"].case_id == f"p{index // 2}"
        assert int(sample["data_samples"].gt_label) == index // 2


def test_labels_of_images_follow_them(table: Path) -> None:
    sample = make(table, split="train", max_images=2)[2]
    assert sample["data_samples"].instance_labels.shape == (2, 1)
    shown = (sample["inputs"][:, 0, 12, 12] == 255).long()
    assert sample["data_samples"].instance_labels[:, 0].tolist() == shown.tolist()


def test_several_labels_and_unknown_ones(table: Path) -> None:
    rows = read_rows(table / "images.csv")
    for row in rows:
        row["label_c1"], row["label_c2"] = row.pop("label"), ""
    write_rows(table / "images.csv", rows)
    labels = make(table, split="train")[2]["data_samples"].instance_labels
    assert labels.shape == (5, 2) and labels[:, 0].sum() == 1 and (labels[:, 1] == -1).all()


def test_even_images_are_the_same_each_time_and_spread(table: Path) -> None:
    data = make(table, max_images=2)
    assert [data.picked(count).tolist() for count in (1, 2, 3, 8, 100)] == [[0], [0, 1], [0, 2], [2, 6], [25, 75]]


def test_random_images_change_and_keep_their_order(table: Path) -> None:
    data = make(table, max_images=3, pick="random")
    drawn = {tuple(data.picked(5).tolist()) for _ in range(200)}
    assert len(drawn) == 10 and all(list(one) == sorted(one) for one in drawn)
    tested = make(table, max_images=3, pick="random", test_mode=True)
    assert len({tuple(tested.picked(5).tolist()) for _ in range(20)}) == 1


def shared(root: Path, same: bool) -> list[torch.Tensor]:
    """Two studies of equal images, augmented."""
    files = [read_rows(root / "images.csv")[0]["file"]] * 4
    data = make(root, pipeline=AUGMENT, same_augmentation=same)
    np.random.seed(0), random.seed(0), torch.manual_seed(0)
    return [data.images([str(root / file) for file in files]) for _ in range(2)]


def test_same_augmentation_is_one_draw_for_a_study(table: Path) -> None:
    first, second = shared(table, same=True)
    assert all(torch.equal(image, first[0]) for image in first)
    assert all(torch.equal(image, second[0]) for image in second)
    assert not torch.equal(first, second), "the next study has another draw"


def test_otherwise_each_image_has_its_own(table: Path) -> None:
    first, _ = shared(table, same=False)
    assert not any(torch.equal(first[i], first[j]) for i in range(4) for j in range(i))


def test_replay_of_all_three_generators() -> None:
    def draw(item: dict) -> dict:
        return {"img": np.array([random.random(), np.random.rand(), float(torch.rand(()))]) + item["add"]}

    one, two, three = (part["img"] for part in replayed(draw, [dict(add=0), dict(add=0), dict(add=1)]))
    assert np.array_equal(one, two) and np.allclose(three, one + 1)
    assert not np.isclose(replayed(draw, [dict(add=0)])[0]["img"], one).any()
    state = random_state()
    before = draw(dict(add=0))["img"]
    set_random_state(state)
    assert replays(draw, dict(add=0)) and np.array_equal(draw(dict(add=0))["img"], before), "replays() leaves no trace"


def test_a_generator_of_its_own_is_refused(table: Path) -> None:
    generator = np.random.default_rng(0)
    assert not replays(lambda item: {"img": generator.random(3)}, {})
    data = make(table)
    data.pipeline = lambda item: {"img": generator.random(3)}
    with pytest.raises(ConfigError, match="generator of its own"):
        data._check_replay()


def test_natural_order() -> None:
    names = ["a10.png", "a9.png", "b1.png", "a9b2.png", "7.png"]
    assert sorted(names, key=lambda name: natural(Path(name))) == ["7.png", "a9.png", "a9b2.png", "a10.png", "b1.png"]


@pytest.mark.parametrize(
    "content, says",
    [
        (None, r"image '.*9.png is missing': replace"),
        (b"", r"image '.*9.png is empty'"),
        (b"<html>", r"image '.*9.png is no image that OpenCV reads'"),
    ],
)
def test_a_bad_image_is_named_before_training(table: Path, content: bytes | None, says: str) -> None:
    path = table / "images/s03/9.png"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(DatasetError, match=says):
        make(table, split="train")
    make(table, split="val")
    make(table, split="train", check_images=False)


def test_a_truncated_image_is_named_when_read(table: Path) -> None:
    path = table / "images/s00/9.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DatasetError, match=r"9.png \(60 bytes\) cannot be decoded"):
        make(table, split="train")[0]


@pytest.mark.parametrize(
    "change, says",
    [
        (dict(slide_id="s99"), None),
        (dict(order="first"), r"orders of 's\d\d' are .*first.*; expected numbers, each once"),
        (dict(order="1e400"), "expected numbers, each once"),
        (dict(label="2"), "has the label 'images/s.*: 2'"),
        (dict(file=""), "slide_id or file is empty in"),
    ],
)
def test_a_bad_row_of_images_is_named(table: Path, change: dict, says: str | None) -> None:
    rows = read_rows(table / "images.csv")
    rows[0].update(change)
    write_rows(table / "images.csv", rows)
    if says is None:
        make(table)  # a study that bags.csv does not name is left alone
    else:
        with pytest.raises(DatasetError, match=says):
            make(table)


def test_an_image_is_in_one_split(table: Path) -> None:
    """Two studies of one split may share an image, such as bags drawn from a pool of tiles."""
    rows = read_rows(table / "images.csv")
    of = {study: next(row for row in rows if row["slide_id"] == study) for study in ("s00", "s01", "s07")}
    write_rows(table / "images.csv", [*rows, of["s00"] | dict(slide_id="s02", order=99)])
    assert len(make(table)[2]["inputs"]) == 6
    write_rows(table / "images.csv", [*rows, of["s00"] | dict(slide_id="s07", order=99)])
    with pytest.raises(DatasetError, match=r"in studies of two splits is the image '.*images/s00/"):
        make(table, split="train")
    write_rows(table / "images.csv", [*rows, of["s01"]])
    with pytest.raises(DatasetError, match=r"lists twice 'images/s01/\d+.png of s01'"):
        make(table)


def test_studies_without_images_are_named(table: Path) -> None:
    rows = [row for row in read_rows(table / "images.csv") if row["slide_id"] != "s01"]
    write_rows(table / "images.csv", rows)
    with pytest.raises(DatasetError, match=r"has no image of the study 's01'"):
        make(table)
    (table / "images.csv").unlink()
    for path in (table / "images/s02").iterdir():
        path.unlink()
    with pytest.raises(DatasetError, match=r"no image in the folder of the study 's02: "):
        make(table)
    (table / "images/s02").rmdir()
    with pytest.raises(DatasetError, match=r"no folder of images for the study 's02: "):
        make(table)


def test_a_pipeline_must_end_with_an_image_of_one_size(table: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected img \(H, W, 3\) uint8"):
        make(table, pipeline=[*LOAD, dict(type="mmpretrain.PackInputs")])[0]
    make(table, pipeline=AUGMENT)[0]
    import cv2

    cv2.imwrite(str(table / "images/s00/9.png"), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(DatasetError, match=r"9.png is \(8, 8, 3\) after the pipeline"):
        make(table)[0]


def test_weights_of_studies(table: Path) -> None:
    assert "weight" not in make(table)[0]["data_samples"]
    rows = read_rows(table / "bags.csv")
    write_rows(table / "bags.csv", [row | dict(weight=1 + number) for number, row in enumerate(rows)])
    assert make(table, split="val")[1]["data_samples"].weight == 6.0
    write_rows(table / "bags.csv", [row | dict(weight="0" if row["slide_id"] == "s05" else 1) for row in rows])
    with pytest.raises(DatasetError, match="no weight for the study 's05': a number above 0"):
        make(table)


def test_patients_and_classes(table: Path) -> None:
    assert make(table, cases=["p0", "p3"]).bags.ids.tolist() == ["s00", "s01", "s06", "s07"]
    with pytest.raises(DatasetError, match="p9"):
        make(table, cases=["p9"])
    with pytest.raises(DatasetError, match="num_classes"):
        make(table, num_classes=3)
    assert make(table, indices=2).labels.tolist() == [0, 1], "quick mode sees both classes"
    rows = read_rows(table / "bags.csv")
    rows[0]["split"] = "val"
    write_rows(table / "bags.csv", rows)
    with pytest.raises(DatasetError, match="more than one split for the case 'p0"):
        make(table)
