"""Package metadata: ranges live here, the exact tested set in constraints.txt."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "medkit/__init__.py").read_text())[1]

setup(
    name="medkit",
    version=VERSION,
    description="Training lesion detectors on medical images that have few labels, on OpenMMLab",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["medkit", "medkit.*", "data_prep", "data_prep.*"]),
    install_requires=[
        # The maintained forks keep the import names mmengine, mmcv, mmdet, mmpretrain.
        "onedl-mmengine>=0.10.12,<0.11",
        "onedl-mmcv>=2.3.6,<2.4",
        "onedl-mmdetection>=3.5.1,<3.6",
        "onedl-mmpretrain>=1.3.6,<1.4",
        "torch>=2.6",
        "torchvision>=0.21",
        "numpy>=1.26",
        "scipy>=1.11",
        "opencv-python>=4.8",
        "Pillow>=10",
        "pycocotools>=2.0.8",
        "matplotlib>=3.8",
        "PyYAML>=6",
        "tqdm>=4.60",
    ],
    extras_require={
        "prep": ["pydicom>=3", "openpyxl>=3.1", "defusedxml>=0.7"],
        "dask": ["distributed>=2024.1"],
        "tensorboard": ["tensorboard>=2.14"],
        "onnx": ["onnx>=1.18", "onnxruntime>=1.20", "onnxscript>=0.5"],
        "tabular": ["pyarrow>=16"],
        "genetics": ["bed-reader>=1.0"],
        "selfsup": ["faiss-cpu>=1.9", "scikit-learn>=1.5"],
        "slides": [
            "h5py>=3.8",
            "openslide-python>=1.4",
            "openslide-bin>=4.0",
            "tifffile>=2024.1",
            "imagecodecs>=2024.1",
        ],
        "volumes": ["nibabel>=5.2", "monai>=1.4", "SimpleITK>=2.3"],
        # Their models' insides are used, so no other version is let in.
        "anomaly": ["anomalib==2.7.0"],
        "dev": [
            "anomalib==2.7.0",
            "h5py>=3.8",
            "openslide-python>=1.4",
            "openslide-bin>=4.0",
            "tifffile>=2024.1",
            "imagecodecs>=2024.1",
            "nibabel>=5.2",
            "monai>=1.4",
            "SimpleITK>=2.3",
            "faiss-cpu>=1.9",
            "scikit-learn>=1.5",
            "pyarrow>=16",
            "bed-reader>=1.0",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ImageHash>=4.3",
            "ruff>=0.6",
            "mypy>=1.10",
            "pydicom>=3",
            "openpyxl>=3.1",
            "defusedxml>=0.7",
            "hypothesis>=6.100",
            "onnx>=1.18",
            "onnxruntime>=1.20",
            "onnxscript>=0.5",
            "distributed>=2024.1",
            "tensorboard>=2.14",
        ],
    },
)
