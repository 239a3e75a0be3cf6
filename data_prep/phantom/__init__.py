"""A phantom of a liver ultrasound export: sectors with lesions of four classes, and the dirt of real ones.

Command: ``python -m data_prep.phantom OUT --patients 100 --images-per-patient 2..4 --size 480 --jobs 2``
(``--images 300`` instead of ``--patients`` for an exact number, ``--clean`` for no faults, ``--twins`` for
the overlay masks and clean twins). From Python: ``generate_export`` and ``render_frame``.

It writes into OUT:

- ``images/us000001.jpg`` (or png): 8-bit grey, or colour where the machine tints or an overlay is coloured.
- ``table.csv``: ``file,patient_id,age,sex,diagnosis,boxes``, the dirty table. Boxes are ``x1,y1,x2,y2,class``
  in pixels, joined by ``;``.
- ``truth.csv``: ``file,kind,detail``, one row per planted fault. ``faults.RATES`` lists the kinds; ``detail``
  is JSON.
- ``truth_boxes.csv``: ``file,patient_id,x1,y1,x2,y2,class,labelled``, every lesion that a frame shows;
  ``labelled`` is 0 where the table leaves it out.
- with ``--twins`` also ``truth/NAME_overlay.png`` (255 where an overlay lies) and ``truth/NAME_clean.png``.

docs/phantom.md says what is modelled and what is not.
"""

from data_prep.phantom.export import ExportSummary, generate_export
from data_prep.phantom.frame import render_frame

__all__ = ["ExportSummary", "generate_export", "render_frame"]
