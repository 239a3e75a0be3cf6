"""Heads that classify bags: the tiles of a slide, the images of a study (multiple-instance learning)."""

from medkit.models.mil.abmil import ABMIL
from medkit.models.mil.attention_max import AttentionMaxMIL
from medkit.models.mil.bag_classifier import BagClassifier
from medkit.models.mil.bag_preprocessor import BagDataPreprocessor
from medkit.models.mil.base import MILHead, MILOutput
from medkit.models.mil.clam import CLAM
from medkit.models.mil.concat_tile import ConcatTileMIL
from medkit.models.mil.dsmil import DSMIL
from medkit.models.mil.gigassl import GigaSSL, GigaSSLProjector
from medkit.models.mil.gigassl_aggregator import SparseStageAggregator
from medkit.models.mil.gigassl_pooling import AttentionAggregator, MLPMeanAggregator
from medkit.models.mil.image_bag_preprocessor import ImageBagPreprocessor
from medkit.models.mil.image_bags import ImageBagClassifier
from medkit.models.mil.masking import pad_bags, unpack_bags
from medkit.models.mil.max_instance import MaxInstanceMIL
from medkit.models.mil.nystrom import NystromAttention
from medkit.models.mil.pooling import PoolingMIL
from medkit.models.mil.ppeg import PPEG
from medkit.models.mil.sequence import SequenceMIL
from medkit.models.mil.smooth_svm import smooth_top1_svm
from medkit.models.mil.sparse_augment import MapAugmentation
from medkit.models.mil.sparse_conv import SparseConv2d, SubmanifoldConv2d
from medkit.models.mil.sparse_map import SparseMap, build_map
from medkit.models.mil.sparse_pool import SparsePool2d, mean_of_cells
from medkit.models.mil.sparseconvmil import SparseConvMIL
from medkit.models.mil.transmil import TransMIL

__all__ = [
    "ABMIL",
    "CLAM",
    "DSMIL",
    "PPEG",
    "AttentionAggregator",
    "AttentionMaxMIL",
    "BagClassifier",
    "BagDataPreprocessor",
    "ConcatTileMIL",
    "GigaSSL",
    "GigaSSLProjector",
    "ImageBagClassifier",
    "ImageBagPreprocessor",
    "MILHead",
    "MILOutput",
    "MLPMeanAggregator",
    "MapAugmentation",
    "MaxInstanceMIL",
    "NystromAttention",
    "PoolingMIL",
    "SequenceMIL",
    "SparseConv2d",
    "SparseConvMIL",
    "SparseMap",
    "SparsePool2d",
    "SparseStageAggregator",
    "SubmanifoldConv2d",
    "TransMIL",
    "build_map",
    "mean_of_cells",
    "pad_bags",
    "smooth_top1_svm",
    "unpack_bags",
]
