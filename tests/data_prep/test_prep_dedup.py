import dataclasses

import cv2
import numpy as np
import pytest

from data_prep import dedup, verify
from data_prep.__main__ import main
from data_prep.dedup import drop_duplicates, find_pairs, group_numbers
from data_prep.duplicates import find_duplicates, look_at
from data_prep.errors import ExportError
from data_prep.hashing import phash
from data_prep.pairs import Pair, Pairs
from data_prep.probe import Probe, probe
from data_prep.records import Lesion, Record
from data_prep.verify import correlation, turn

from .conftest import sector


def picture(seed: int, noise: int | None = None) -> np.ndarray:
    """Thumbnail (64, 64) of a smooth random picture, with noise of its own."""
    rng = np.random.default_rng(seed)
    base = cv2.resize(rng.integers(30, 200, (10, 10), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(noise).normal(0, 2, base.shape) if noise is not None else 0
    return np.clip(base + grain, 0, 255).astype(np.uint8)


def look(pictures: list[np.ndarray], **values) -> tuple[list[Probe], np.ndarray]:
    """Probes of pictures, one size for all; equal pictures have equal pixels."""
    own = {"width": 600, "height": 480, "scan_box": (0, 0, 600, 480), **values}
    probes = [Probe(pixel_digest=image.tobytes(), hash=phash(image), **own) for image in pictures]
    return probes, np.stack(pictures)


def records(count: int, tmp_path, **values) -> list[Record]:
    return [Record(f"{number}.png", tmp_path / f"{number}.png", **values) for number in range(count)]


def test_correlation_ignores_gain_and_small_shifts_and_sees_other_pictures():
    rng = np.random.default_rng(1)
    big = cv2.resize(rng.integers(30, 200, (10, 10), dtype=np.uint8), (80, 80), interpolation=cv2.INTER_CUBIC)
    thumb = big[8:72, 8:72]
    shifted = (big[5:69, 11:75] * 0.7 + 10).astype(np.uint8)
    other = cv2.resize(rng.integers(30, 200, (10, 10), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
    assert correlation(thumb, shifted) > 0.99
    assert correlation(thumb, other) < 0.7
    assert correlation(thumb, np.zeros_like(thumb)) == 0.0
    assert correlation(np.zeros_like(thumb), thumb) == 0.0


@pytest.mark.parametrize(("side", "shift"), [(64, 6), (32, 3), (16, 1)])
def test_correlation_is_that_of_template_matching(side, shift):
    rng = np.random.default_rng(side)
    images = rng.integers(0, 256, (4, side, side), dtype=np.uint8)
    pairs = np.array([(0, 1, 0), (0, 2, 0), (1, 2, 0), (3, 0, 0)])
    found = verify.correlations(images.__getitem__, images.__getitem__, pairs, shift)
    inner = slice(shift, -shift)
    expected = [cv2.matchTemplate(images[a], images[b, inner, inner], cv2.TM_CCOEFF_NORMED).max() for a, b, _ in pairs]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    if shift == 1:
        quick = verify.quick_correlations(images, verify.middles(images, 1), pairs)
        np.testing.assert_allclose(quick, expected, atol=1e-4)


def test_groups_are_the_connected_components():
    assert group_numbers(6, [(4, 5), (0, 3), (3, 5)]) == [0, 1, 2, 0, 0, 0]


def test_same_hash_with_other_pixels_is_no_pair():
    probes, thumbs = look([picture(1), picture(2), picture(1, noise=0)])
    probes = [dataclasses.replace(probe, hash=7) for probe in probes]
    assert [(pair.first, pair.second) for pair in find_pairs(probes, thumbs)] == [(0, 2)]


def test_pairs_do_not_depend_on_the_size_of_blocks(monkeypatch):
    probes, thumbs = look([picture(seed, noise=k) for seed in range(6) for k in range(3)])
    expected = list(find_pairs(probes, thumbs))
    assert len(expected) == 18
    monkeypatch.setattr(dedup, "BLOCK", 2)
    monkeypatch.setattr(verify, "BATCH", 1)
    assert list(find_pairs(probes, thumbs)) == expected


def test_thumbnails_may_lie_on_the_disk(tmp_path):
    probes, thumbs = look([picture(seed, noise=k) for seed in range(3) for k in range(2)])
    path = tmp_path / "thumbs.u8"
    path.write_bytes(thumbs.tobytes())
    assert list(find_pairs(probes, np.memmap(path, np.uint8, "r", shape=thumbs.shape))) == list(
        find_pairs(probes, thumbs)
    )


def test_flat_frames_are_pairs_by_equal_pixels_only():
    probes, thumbs = look([picture(1), picture(1, noise=0), picture(1)], flat=True)
    assert [(pair.first, pair.second) for pair in find_pairs(probes, thumbs)] == [(0, 2)]


@pytest.mark.parametrize("number", range(8))
def test_turned_copies_are_found_when_asked_for(number):
    turned = np.ascontiguousarray(turn(picture(3, noise=1), number))
    probes, thumbs = look([picture(5), turned, picture(3, noise=2)])
    found = find_pairs(probes, thumbs, invariant=True)
    assert [(pair.first, pair.second) for pair in found] == [(1, 2)]
    np.testing.assert_array_equal(turn(thumbs[2], found[0].turn).shape, thumbs[1].shape)
    assert correlation(thumbs[1], np.ascontiguousarray(turn(thumbs[2], found[0].turn))) > 0.95
    assert len(find_pairs(probes, thumbs)) == (number == 0)


def test_copies_share_the_partners_of_their_picture(tmp_path):
    probes, thumbs = look([picture(1), picture(1, noise=0), picture(1), picture(1, noise=0)])
    pairs = find_pairs(probes, thumbs)
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    own = records(4, tmp_path)
    drop_duplicates(own, probes, pairs)
    assert [record.kept for record in own] == [True, False, False, False]


def test_many_copies_are_listed_with_the_first_and_all_but_the_best_are_dropped(tmp_path):
    probes, thumbs = look([picture(1)] * 40 + [picture(1, noise=0)] * 3)
    pairs = find_pairs(probes, thumbs)
    assert len(pairs) == 39 + 3 + 1
    own = records(43, tmp_path)
    own[17].lesions = [Lesion((0, 0, 60, 48), "cyst")]
    drop_duplicates(own, probes, pairs)
    assert [record.file for record in own if record.kept] == ["17.png"]
    assert {record.partner for record in own if not record.kept} == {"17.png"}
    assert {record.group for record in own} == {0}


def test_every_copy_of_a_picture_with_two_diagnoses_goes(tmp_path):
    probes, thumbs = look([picture(1)] * 3 + [picture(1, noise=0), picture(2)])
    own = records(5, tmp_path, diagnosis="cyst")
    own[1].diagnosis = "HCC"
    drop_duplicates(own, probes, find_pairs(probes, thumbs))
    assert [record.reason for record in own] == ["label_conflict"] * 4 + [""]
    assert [record.partner for record in own[:4]] == ["1.png", "0.png", "1.png", "1.png"]
    assert own[3].detail == "cyst here, HCC there"


def test_the_best_stays_larger_then_more_lesions_then_less_overlay(tmp_path):
    probes, thumbs = look([picture(1, noise=k) for k in range(4)])
    one = Lesion((0, 0, 60, 48), "cyst")
    for change, lesions, best in (
        ({2: {"width": 700, "height": 500}}, {0: [one]}, 2),
        ({2: {"overlay_pixels": 5}}, {3: [one]}, 3),
        ({k: {"overlay_pixels": 9 - k} for k in range(4)}, {}, 3),
        ({}, {}, 0),
    ):
        seen = [dataclasses.replace(probe, **change.get(k, {})) for k, probe in enumerate(probes)]
        own = records(4, tmp_path)
        for k, boxes in lesions.items():
            own[k].lesions = boxes
        drop_duplicates(own, seen, find_pairs(seen, thumbs))
        assert [k for k, record in enumerate(own) if record.kept] == [best]
        lost = [str(note) for record in own for note in record.notes]
        assert len(lost) == (best == 2)


def test_nothing_is_dropped_through_a_chain(tmp_path):
    own = records(3, tmp_path)
    probes, _ = look([picture(k) for k in range(3)])
    probes[1] = dataclasses.replace(probes[1], overlay_pixels=3)
    drop_duplicates(own, probes, [Pair(0, 1, 3, 0.9), Pair(1, 2, 4, 0.95)])
    assert [record.kept for record in own] == [True, False, True]
    assert own[1].partner == "2.png"
    assert [record.group for record in own] == [0, 0, 0]


def test_the_table_of_pairs_behaves_as_a_list():
    pairs = [Pair(0, 1, 3, 0.5), Pair(2, 4, 0, 1.0, 3)]
    table = Pairs.of(pairs)
    assert list(table) == pairs
    assert table[1] == pairs[1]
    assert list(table[1:]) == pairs[1:]
    assert len(Pairs.of([])) == 0


def test_a_folder_gives_groups_and_a_csv(tmp_path, capsys):
    folder = tmp_path / "ima ges"
    folder.mkdir()
    for name, seed, width in (("a.png", 1, 460), ("b.jpg", 1, 640), ("c.png", 2, 460), ("flip.png", 2, 460)):
        image = cv2.resize(sector(seed), (width, 420))
        cv2.imwrite(str(folder / name), image[:, ::-1] if name == "flip.png" else image)
    (folder / "broken.png").write_bytes(b"no")
    out = tmp_path / "pairs.csv"
    assert main(["dedup", str(folder), "--out", str(out), "--jobs", "1"]) == 0
    text = capsys.readouterr().out
    assert "not readable: broken.png: not_an_image" in text
    assert "0: b.jpg, a.png" in text
    assert text.endswith("4 images, 1 pairs, 1 groups, 1 beyond the first\n")
    assert out.read_text().splitlines()[1].startswith("a.png,b.jpg,")
    look = look_at(folder)
    found = find_duplicates(look, invariant=True)
    assert [[found.files[k] for k in group] for group in found.groups] == [["b.jpg", "a.png"], ["c.png", "flip.png"]]


def test_a_folder_without_images_and_a_wrong_option_are_named(tmp_path, capsys):
    with pytest.raises(ExportError, match="no image"):
        look_at(tmp_path)
    assert main(["dedup", str(tmp_path), "--distance", "65"]) == 2
    assert "--distance 65: expected between 0 and 64" in capsys.readouterr().err


@pytest.mark.realdata
def test_the_busi_image_with_two_diagnoses_is_a_conflict(shared_data):
    images = shared_data / "us_breast_busi/images"
    names = ("benign (433)", "malignant (145)", "benign (1)")
    own = [Record(name, next(images.rglob(f"{name}.*")), diagnosis=name.split()[0]) for name in names]
    probes = [probe(str(record.path), 400) for record in own]
    thumbs = np.stack([np.frombuffer(one.thumb, np.uint8).reshape(64, 64) for one in probes])
    drop_duplicates(own, probes, find_pairs(probes, thumbs))
    assert [record.reason for record in own] == ["label_conflict", "label_conflict", ""]
    assert [record.partner for record in own[:2]] == ["malignant (145)", "benign (433)"]
