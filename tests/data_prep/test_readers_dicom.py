import io
import re

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

from data_prep.__main__ import main
from data_prep.errors import OptionError, UnreadableImage
from data_prep.images import decode
from data_prep.options import Options
from data_prep.pipeline import prepare
from data_prep.readers import read_export
from data_prep.readers.dicom import pseudonym

from .conftest import sector
from .test_prep_readers import codes

PLANTED = {
    "PatientName": "Zaubermann^Ottokar",
    "PatientID": "QX778812",
    "PatientBirthDate": "19610317",
    "AccessionNumber": "ACC55512",
    "InstitutionName": "Klinik Hohenwald",
    "ReferringPhysicianName": "Doktor^Eulenspiegel",
    "OperatorsName": "Sonograferin^Idalinde",
    "StationName": "RAUM-0815",
    "StudyDescription": "Leber Zaubermann",
    "PatientComments": "Nachbar von Ottokar",
    "DeviceSerialNumber": "SN4455667",
    "StudyDate": "20230102",
}


def regions(*boxes, formats=None) -> list[Dataset]:
    """SequenceOfUltrasoundRegions with inclusive corners, 0.02 cm a pixel."""
    found = []
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        item = Dataset()
        item.RegionLocationMinX0, item.RegionLocationMinY0 = x1, y1
        item.RegionLocationMaxX1, item.RegionLocationMaxY1 = x2, y2
        item.RegionSpatialFormat = formats[number] if formats else 1
        item.PhysicalUnitsXDirection, item.PhysicalDeltaX = 3, 0.02
        found.append(item)
    return found


def dicom_bytes(values: np.ndarray, kind: str = "MONOCHROME2", frames: int = 1, raw: bytes = b"", **tags) -> bytes:
    """A DICOM file of stored values (H, W), (H, W, 3) or, with ``frames``, (N, H, W[, 3])."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = tags.pop("syntax", ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.3.4"
    dataset = FileDataset("x", {}, file_meta=meta, preamble=b"\0" * 128)
    shape = values.shape[1:] if frames > 1 else values.shape
    dataset.Rows, dataset.Columns = shape[:2]
    dataset.SamplesPerPixel = 3 if len(shape) == 3 else 1
    if len(shape) == 3:
        dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation, dataset.Modality = kind, "US"
    dataset.BitsAllocated = dataset.BitsStored = 8 * values.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    if frames > 1:
        dataset.NumberOfFrames = frames
    for name, value in tags.items():
        setattr(dataset, name, value)
    data = raw or values.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB" if values.dtype == np.uint8 else "OW"
    out = io.BytesIO()
    dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def shown(tmp_path, values, frame=None, **tags):
    path = tmp_path / "one.dcm"
    path.write_bytes(dicom_bytes(values, **tags))
    return decode(path, frame)


@pytest.fixture
def grey():
    return np.arange(48, dtype=np.uint8).reshape(6, 8)


def test_grey_values_and_their_inverse(tmp_path, grey):
    assert np.array_equal(shown(tmp_path, grey).pixels, grey)
    assert np.array_equal(shown(tmp_path, grey, kind="MONOCHROME1").pixels, 255 - grey)


def test_rescale_and_window_of_12_bits(tmp_path):
    values = np.array([[0, 1000, 1500], [2000, 3000, 4095]], np.uint16)
    tags = {"BitsStored": 12, "HighBit": 11, "RescaleSlope": 2, "RescaleIntercept": -1000}
    assert shown(tmp_path, values, **tags).pixels.tolist() == [[0, 62, 93], [125, 187, 255]]  # the range of the image
    windowed = shown(tmp_path, values, **tags, WindowCenter=2000, WindowWidth=2000).pixels
    shares = (values * 2.0 - 1000 - 1999.5) / 1999 + 0.5  # PS3.3 C.11.2.1.2
    assert np.array_equal(windowed, np.round(np.clip(shares, 0, 1) * 255))


def test_palette_and_colour_spaces(tmp_path, grey):
    tags = {}
    for number, colour in enumerate(("Red", "Green", "Blue")):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        table = (np.arange(256, dtype=np.uint16) * (number + 1) % 256 * 257).astype("<u2")
        tags[f"{colour}PaletteColorLookupTableData"] = table.tobytes()
    found = shown(tmp_path, grey, kind="PALETTE COLOR", **tags).pixels
    assert np.array_equal(found, np.stack([grey, grey * 2, grey * 3], 2))
    rgb = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    assert np.array_equal(shown(tmp_path, rgb, kind="RGB").pixels, rgb)
    ycc = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    near = shown(tmp_path, ycc, kind="YBR_FULL").pixels.astype(int)
    assert np.abs(near - rgb).max() <= 3
    flat = np.repeat(ycc[:, ::2], 2, axis=1)  # two pixels share their colour: stored Y Y Cb Cr
    raw = np.stack([flat[:, ::2, 0], flat[:, 1::2, 0], flat[:, ::2, 1], flat[:, ::2, 2]], 2).tobytes()
    near = shown(tmp_path, flat, kind="YBR_FULL_422", raw=raw).pixels.astype(int)
    assert np.abs(near - np.repeat(rgb[:, ::2], 2, axis=1)).max() <= 3


def test_compressed_frames(tmp_path, grey):
    frames = np.stack([sector(seed, 120, 100) for seed in range(3)])
    parts = []
    for frame in frames:
        out = io.BytesIO()
        Image.fromarray(frame).save(out, "JPEG", quality=95)
        parts.append(out.getvalue())
    tags = {"frames": 3, "syntax": JPEGBaseline8Bit, "raw": encapsulate(parts)}
    for number in (2, 0):
        found = shown(tmp_path, frames, number, **tags).pixels
        assert np.abs(found.astype(int) - frames[number]).mean() < 3
    dataset = pydicom.dcmread(io.BytesIO(dicom_bytes(grey)))
    dataset.compress(RLELossless)
    dataset.save_as(tmp_path / "rle.dcm")
    assert np.array_equal(decode(tmp_path / "rle.dcm").pixels, grey)
    with pytest.raises(UnreadableImage, match=r"no_decoder.*pylibjpeg"):
        shown(tmp_path, frames, 0, **{**tags, "syntax": "1.2.840.10008.1.2.4.70"})


def test_only_the_scan_regions_are_left(tmp_path):
    values = np.random.default_rng(1).integers(1, 255, (60, 80)).astype(np.uint8)
    boxes = regions((10, 20, 29, 49), (40, 25, 69, 39), (0, 50, 79, 59), formats=(1, 1, 3))
    picture = shown(tmp_path, values, SequenceOfUltrasoundRegions=boxes)
    expected = np.zeros((30, 60), np.uint8)
    expected[:, :20] = values[20:50, 10:30]
    expected[5:20, 30:] = values[25:40, 40:70]
    assert np.array_equal(picture.pixels, expected) and "cut to the scan region 10,20,70,50" in picture.change
    assert not picture.as_is
    past = shown(tmp_path, values, SequenceOfUltrasoundRegions=regions((70, 50, 500, 500)))
    assert np.array_equal(past.pixels, values[50:, 70:])
    with pytest.raises(UnreadableImage, match="bad_region"):
        shown(tmp_path, values, SequenceOfUltrasoundRegions=regions((90, 50, 500, 500)))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "zero_bytes"),
        (lambda data: data[132:], "not_an_image"),
        (lambda data: data[:-30], "truncated"),
        (lambda data: data[:300], "not_an_image"),
    ],
)
def test_damaged_files(tmp_path, grey, damage, reason):
    path = tmp_path / "one.dcm"
    path.write_bytes(damage(dicom_bytes(grey, **PLANTED)))
    with pytest.raises(UnreadableImage, match=reason) as caught:
        decode(path)
    assert not any(word in str(caught.value) for value in PLANTED.values() for word in value.split("^"))


def test_a_record_per_frame_with_the_facts_of_the_header(tmp_path):
    frames = np.stack([sector(seed) for seed in range(3)])
    many = dicom_bytes(frames, frames=3, PatientID="A 1", PatientAge="045Y", PatientSex="F")
    (tmp_path / "many.DCM").write_bytes(many)
    infant = {"PatientAge": "006M", "PatientSex": "O", "SequenceOfUltrasoundRegions": regions((10, 20, 299, 319))}
    (tmp_path / "0001").write_bytes(dicom_bytes(sector(9), PatientID="B", **infant))
    (tmp_path / "born.dcm").write_bytes(dicom_bytes(sector(8), PatientBirthDate="19800704", StudyDate="20230703"))
    (tmp_path / "notes.txt").write_text("x")
    source = read_export(tmp_path)
    found = {record.file: record for record in source.records}
    assert source.reader == "dicom" and source.has_patient_ids
    assert list(found) == ["0001", "born.dcm", *(f"many.DCM#{number:04}" for number in range(3))]
    third = found["many.DCM#0002"]
    assert (third.frame, third.age, third.sex, third.patient_id) == (2, 45, "F", pseudonym("A 1", b""))
    assert np.array_equal(decode(third.path, third.frame).pixels, frames[2])
    baby = found["0001"]
    assert (baby.age, baby.sex, baby.extra["age_months"], baby.extra["mm_per_pixel"]) == (0, None, 6, 0.2)
    assert codes(baby) == ["sex_unknown"] and "no_scan_region" in codes(third)
    assert found["born.dcm"].age == 42 and "patient_missing" in codes(found["born.dcm"])
    assert any("no images passed over (.txt 1)" in remark for remark in source.remarks)


def test_pseudonyms_depend_on_the_key_and_on_nothing_else(tmp_path):
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "a.dcm").write_bytes(dicom_bytes(sector(0), PatientID="4711"))
    (tmp_path / "key").write_bytes(b"0123456789abcdef\n")
    (tmp_path / "short").write_bytes(b"0123")

    def ids(**values):
        return [record.patient_id for record in read_export(tmp_path / "e", Options(**values)).records]

    plain, keyed = ids(), ids(pseudonym_key=tmp_path / "key")
    assert plain == ids() and plain != keyed == ids(pseudonym_key=tmp_path / "key")
    assert all(re.fullmatch("P[0-9a-f]{16}", name) for name in plain + keyed)
    assert ids(keep_patient_ids=True) == ["4711"]
    for name in ("short", "absent"):
        with pytest.raises(OptionError, match="--pseudonym-key"):
            ids(pseudonym_key=tmp_path / name)


def test_text_that_is_burned_in_without_a_region_is_not_let_through(tmp_path):
    (tmp_path / "a.dcm").write_bytes(dicom_bytes(sector(0), BurnedInAnnotation="YES", PatientID="4711"))
    assert read_export(tmp_path).records[0].reason == "burned_in_text"
    assert read_export(tmp_path, Options(keep_patient_ids=True)).records[0].kept


def test_boxes_of_a_table_are_moved_into_the_scan_region(tiny):
    cut = regions((40, 20, 439, 399))
    one = dicom_bytes(sector(0), SequenceOfUltrasoundRegions=cut, PatientID="p0", PatientSex="M", PatientAge="050Y")
    tiny.add("one.dcm", data=one, boxes="100,100,160,150,cyst", age="", sex="", patient_id="p0")
    frames = dicom_bytes(np.stack([sector(1), sector(2), sector(3)]), frames=3)
    tiny.add("many.dcm#0001", boxes="10,10,60,50,cyst")
    tiny.add("many.dcm", data=frames, row=False)
    tiny.add("vague.dcm", data=frames, boxes="10,10,60,50,cyst")
    tiny.add("far.dcm#0007")
    tiny.add("far.dcm", data=frames, row=False)
    found = {record.file: record for record in read_export(tiny.save()).records}
    record = found["one.dcm"]
    assert [lesion.box for lesion in record.lesions] == [(60, 80, 120, 130)]
    assert (record.age, record.sex, record.patient_id) == (50, "M", pseudonym("p0", b""))
    assert found["many.dcm#0001"].kept and found["many.dcm#0001"].frame == 1
    assert found["many.dcm#0000"].reason == found["many.dcm#0002"].reason == "no_row"
    assert {found[f"vague.dcm#000{number}"].reason for number in range(3)} == {"frame_not_named"}
    assert found["far.dcm#0007"].reason == "bad_frame"


def planted_export(folder, name="QX7788{0:02}/Zaubermann_US{0:02}.dcm"):
    """Ten patients whose frames carry planted names, also burned in above the scan region and in file names."""
    for number in range(10):
        frame = np.zeros((500, 460), np.uint8)
        frame[60:480] = sector(number)
        frame[5:45, 5:455] = 250  # where machines write name and date
        tags = {**PLANTED, "PatientID": f"QX7788{number:02}", "SequenceOfUltrasoundRegions": regions((0, 60, 459, 479))}
        path = folder / "images" / name.format(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dicom_bytes(frame, **tags))
    (path.parent / "Ottokar broken.dcm").write_bytes(dicom_bytes(frame, **tags)[:-900])
    (path.parent / "Zaubermann.dcm").write_bytes(dicom_bytes(frame, **{**tags, "Rows": 0}))
    return folder


def test_nothing_that_names_a_person_reaches_an_output(tmp_path, capsys):
    export = planted_export(tmp_path / "export")
    prepare(export, tmp_path / "out", Options(jobs=1))
    assert main(["check", str(export)]) == 0
    words = {word for value in PLANTED.values() for word in re.split(r"[\^ ]", value) if len(word) > 4}
    words |= {"QX7788", "Zaubermann"}
    outputs = {str(path.relative_to(tmp_path / "out")): path for path in (tmp_path / "out").rglob("*")}
    contents = [path.read_bytes().decode("latin1") for path in outputs.values() if path.is_file()]
    texts = [*outputs, capsys.readouterr().out, *contents]
    for word in words:
        assert not [text[:80] for text in texts if word.casefold() in text.casefold()], word
    images = [path for path in outputs.values() if path.suffix == ".png" and path.parent.name != "overlay_masks"]
    assert len(images) == 10
    for path in images:
        pixels = np.asarray(Image.open(path))
        assert pixels.shape[:2] == (420, 460) and not (pixels[:5] == 250).any()


def test_every_frame_is_written_as_an_image_of_its_own(tmp_path):
    folder = tmp_path / "export" / "images"
    folder.mkdir(parents=True)
    frames = np.stack([sector(seed) for seed in range(30)])
    for number in range(10):
        own = dicom_bytes(frames[3 * number : 3 * number + 3], frames=3, PatientID=f"P{number}")
        (folder / f"{number}.dcm").write_bytes(own)
    prepare(tmp_path / "export", tmp_path / "out", Options(jobs=1, keep_overlays=True))
    written = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "out" / "images").rglob("*.png"))]
    assert len(written) == 30
    for pixels in written:
        assert any(np.array_equal(pixels, frame) for frame in frames)
    assert len({pixels.tobytes() for pixels in written}) == 30


def test_keeping_the_ids_is_an_explicit_choice(tmp_path):
    export = planted_export(tmp_path / "export", "plain{:02}.dcm")
    records = read_export(export, Options(keep_patient_ids=True)).records
    assert {record.patient_id for record in records if record.kept} == {f"QX7788{number:02}" for number in range(10)}
