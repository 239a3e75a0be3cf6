import medkit  # noqa: F401  (before any mm* package: it installs the finder for mmcv._ext)
