"""A phantom of a liver ultrasound export: B-mode sectors with lesions of four classes, and the dirt of real exports.

Command: ``python -m data_prep.phantom OUT --patients 100 --images-per-patient 2..4 --size 480 --seed 0 --jobs 2``
(``--images 300`` instead of ``--patients`` for an exact number; ``--clean`` without faults; ``--twins`` with the
overlay masks and clean twins). From Python: ``generate_export`` and ``render_frame``.

It writes into OUT:

- ``images/us000001.jpg`` (or png): 8-bit grey, or BGR where the machine tints or something coloured is drawn.
- ``table.csv``: ``file,patient_id,age,sex,diagnosis,boxes``; boxes are ``x1,y1,x2,y2,class`` joined by ``;``, in pixels.
  This is the dirty table.
- ``truth.csv``: ``file,kind,detail``, one row per planted fault; ``detail`` is JSON. The kinds are in ``faults.RATES``.
- ``truth_boxes.csv``: ``file,patient_id,x1,y1,x2,y2,class,labelled``, every lesion that a frame shows; ``labelled`` is 0
  where the table leaves it out.
- ``truth/NAME_overlay.png`` (255 where an overlay lies) and ``truth/NAME_clean.png`` with ``--twins``.

The physics (``physics``), the geometry (``geometry``) and what is not modelled are described in docs/phantom.md.
"""

from data_prep.phantom.export import ExportSummary, generate_export
from data_prep.phantom.frame import render_frame

__all__ = ["ExportSummary", "generate_export", "render_frame"]
