"""One module per command of ``python -m data_prep``: ``HELP``, ``add_arguments(parser)`` and ``run(args)``."""

COMMANDS = ("run", "check", "dedup", "overlays", "split", "coco", "report", "fundus", "saliency", "anomaly", "slides")
