"""Every code that report.csv can hold: its stage, what it means, what to do. Shown in report.html and in the docs.

Command: ``python -m data_prep report --codes`` prints the table of docs/data_prep_report.md.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One code. ``drops``: the image is dropped; else it is a note on an image that goes on."""

    name: str
    stage: str
    drops: bool
    meaning: str
    advice: str


def _parse(text: str) -> dict[str, Code]:
    """Lines ``name | stage | drop or note | meaning | advice``; an indented line goes on with the one before."""
    codes = {}
    for line in text.replace("\n    ", " ").strip().splitlines():
        name, stage, effect, meaning, advice = (part.strip() for part in line.split("|"))
        codes[name] = Code(name, stage, effect == "drop", meaning, advice)
    return codes


CODES = _parse("""
no_file | table | drop | a row, or an entry of an annotation file, names an image that is not there | ask for the
    file, or delete the row
no_row | table | drop | an image that no row or annotation names | add a row, or leave it out
no_mask | table | drop | an image without a mask | add the mask; an empty one for an image without lesion
no_label_file | table | note | YOLO: no label file, so the image counts as one without lesions | check that it shows
    none
unreadable_mask | table | drop | the mask file cannot be decoded | export it again
mask_sizes_differ | table | drop | the masks of one image differ in size | export them again
unreadable_annotation | table | drop | the annotation file of this image cannot be read | repair the file
malformed_row | table | drop | the row has too many or too few fields | quote the field that holds commas
bad_file_name | table | drop | the file name leads outside the image folder | correct the name
not_a_file | table | drop | a pipe, a device or something else that is no plain file | remove it
unreadable_folder | table | drop | a folder that cannot be opened; its images are not known | give permission to read
    it, run again
name_case | table | note | the file was found under a name of other case | correct the name in the table
name_normalised | table | note | the file was found under a name whose accents are coded differently | correct the
    name in the table
name_elsewhere | table | note | the file was found in another folder than the table says | correct the name in the
    table
name_alike | table | note | two files whose names differ in case or accents only | give them names that differ
name_hidden | table | note | a word of the file's name that the DICOM header gives as a person's was replaced |
    nothing
bad_frame | table | drop | the frame number is no number, or the file has no such frame | correct the number
frame_not_named | table | drop | boxes are given for a file of several frames, not for which of them | name the frame
burned_in_text | table | drop | DICOM: the header says that text is burned in, and names no scan region to cut to |
    cut or blank the text, or --keep-patient-ids
no_scan_region | table | note | DICOM: no scan region, so the whole frame is used | look whether burned-in text shows
    a person
duplicate_row | table | note | a second row for the same file, which was ignored | keep one row
bad_row | table | drop | fundus, anomaly: the row has too many or too few fields | quote the field that holds commas
listed_twice | table | drop | fundus, anomaly: an earlier row names the same file | keep one row
mask_missing | table | drop | anomaly: the mask that the row names cannot be read | correct the name, or export it again
same_pixels | duplicates | drop | fundus, anomaly: equal in every pixel to an image that stays | nothing; look why one
    image has two names
duplicate_id | table | drop | two images share an id, so their annotations cannot be told apart | give ids that differ
rows_differ | table | note | rows of one file say different things; the first counts | make them agree
long_text_left_out | table | note | a text in a DICOM header or table is too long for a field of the image | nothing,
    or shorten it
patient_missing | table | note | no patient id: the image, with its near-duplicates, counts as a patient | add the id;
    without it frames of one patient may leak
age_missing | table | note | no age | nothing, or add it
age_implausible | table | note | age not from 1 to 110 (0 is what many systems store for "not known"), or no number;
    set to null | correct it
age_against_diagnosis | table | note | an age at which this diagnosis hardly occurs | check age and diagnosis
patient_ages_differ | table | note | images of one patient give ages far apart | check whether these are two patients
sex_missing | table | note | no sex | nothing, or add it
sex_unknown | table | note | a code that is neither male nor female; set to null | correct it, or map it in the
    columns file
sex_rewritten | table | note | male, f and the like, read as M or F | nothing
patient_sexes_differ | table | note | images of one patient give both sexes | check whether these are two patients
diagnosis_missing | table | note | no diagnosis; the boxes alone count | add it
empty_annotation | table | note | an annotation without content | check that the image shows no lesion
missing | decode | drop | the file vanished or may not be read | check permissions and the disk, run again
not_readable | decode | drop | the file cannot be read | check permissions and the disk, run again
no_decoder | decode | drop | DICOM: a compression that needs another decoder | pip install pylibjpeg
    pylibjpeg-libjpeg, run again
bad_region | decode | drop | DICOM: the scan region in the header is no part of the frame | export it again
examination_failed | decode | drop | the image could not be examined, for instance for lack of memory | run again with
    fewer --jobs
zero_bytes | decode | drop | an empty file | copy it again
not_an_image | decode | drop | no format that is read | export it as PNG, JPEG or DICOM
truncated | decode | drop | the file breaks off or is damaged | copy it again
too_large | decode | drop | more pixels than a still has | check the file
re_encoded | decode | note | written as 8-bit PNG because the original cannot be copied (more bits, TIFF, orientation
    tag) | nothing
mask_size | boxes | drop | mask and image differ in size | export both again
box_outside | boxes | note | the box lies outside the image; rejected | draw it again
box_empty | boxes | note | a side is shorter than 2 pixels; rejected | draw it again
box_inverted | boxes | note | right of the box is left of its left side, or bottom above top; rejected | correct the
    corners
box_not_finite | boxes | note | a corner is not a number; rejected | correct it
box_unreadable | boxes | note | the entry cannot be read as a box; rejected | correct it
box_unknown_class | boxes | note | the class is none of those asked for; rejected | correct it, or name it with
    --classes
colour_unknown | boxes | note | a colour-coded mask has blobs of colours that stand for no class; left out | name the
    colours in the columns file
box_repeated | boxes | note | the same class at the same place a second time (IoU above .98); one is kept | nothing
box_clipped | boxes | note | a part outside the image was cut off | look whether the box fits the lesion
box_huge | boxes | note | the box covers more than 60 % of the image; kept | look whether it marks a lesion or the
    frame
box_tiny | boxes | note | a side is shorter than 1.5 % of the image's shorter side; kept | look whether it was a slip
    of the mouse
box_crowd | boxes | note | marks a crowd, not one lesion; kept as one box | draw single boxes
box_from_outline | boxes | note | no box was given; made from the outline | nothing
box_difficult | boxes | note | marked as difficult; kept | nothing
box_truncated | boxes | note | marked as cut off by the image's edge; kept | nothing
box_occluded | boxes | note | marked as partly hidden; kept | nothing
too_small | size | drop | at most as wide and as high as --min-size | nothing, or lower --min-size
lesion_without_box | labels | drop | the diagnosis names a lesion and no usable box is left; as an empty image it
    would teach that the lesion is background | draw the box
diagnosis_differs | labels | note | the boxes are of other classes than the diagnosis; kept | check: a second disease,
    or a wrong label
near_duplicate | duplicates | drop | the same view as its partner, which is larger, has more lesions or fewer marks |
    nothing
label_conflict | duplicates | drop | the same view as its partner, with another diagnosis: one is wrong, so both are
    dropped | find out which, correct it, run again
boxes_only_here | duplicates | note | boxes of a dropped frame that its partner does not have | draw them on the
    partner if they belong there
flat_frame | duplicates | note | no contrast; compared by equal pixels only | look whether it is an image at all
scale_removed | overlays | note | burned-in marks were found and painted over; their mask lies in overlay_masks/ |
    look at some of them
scale_on_lesion | overlays | note | painted-over pixels lie inside a lesion box | look whether the lesion is still to
    be seen
doppler_frame | overlays | note | large coloured regions (colour flow); left as it is | leave it out if the detector
    is for B-mode only
colour_flow_left | overlays | note | small coloured flow regions; left | nothing
shrunk | overlays | note | shrunk to --max-side, boxes with it | nothing
between_old_sides | split | drop | a new image links patients that --split-from keeps on different sides | nothing, or
    split anew without --split-from
not_written | write | drop | the image could not be written | free the disk, run again
""")


def markdown() -> str:
    """The table of the docs."""
    lines = ["| code | stage | effect | meaning | what to do |", "|---|---|---|---|---|"]
    for code in CODES.values():
        effect = "dropped" if code.drops else "noted"
        lines.append(f"| `{code.name}` | {code.stage} | {effect} | {code.meaning} | {code.advice} |")
    return "\n".join(lines)
