"""Self-supervised pre-training: what mmpretrain's models lack."""

from medkit.models.common.contrastive import nt_xent
from medkit.models.selfsup.contig import ContIG
from medkit.models.selfsup.correlation import CrossCorrelationHead
from medkit.models.selfsup.dino import DINO
from medkit.models.selfsup.dino_head import DINOHead, dino_loss
from medkit.models.selfsup.dino_neck import DINONeck
from medkit.models.selfsup.info_nce import InfoNCELoss, info_nce
from medkit.models.selfsup.nnclr import NNCLR, NNCLRHead
from medkit.models.selfsup.pair_distance import PairDistanceLoss
from medkit.models.selfsup.projector import ProjectionNeck
from medkit.models.selfsup.saliency_preprocessor import SaliencyDataPreprocessor
from medkit.models.selfsup.simclr import SimCLR
from medkit.models.selfsup.similarity import CosineSimilarityLoss
from medkit.models.selfsup.spatial_siamese import SpatialSiamese
from medkit.models.selfsup.ssit import SSiT
from medkit.models.selfsup.ssit_head import SSiTHead
from medkit.models.selfsup.ssit_vit import SaliencyViT

__all__ = [
    "DINO",
    "NNCLR",
    "ContIG",
    "CosineSimilarityLoss",
    "CrossCorrelationHead",
    "DINOHead",
    "DINONeck",
    "InfoNCELoss",
    "NNCLRHead",
    "PairDistanceLoss",
    "ProjectionNeck",
    "SSiT",
    "SSiTHead",
    "SaliencyDataPreprocessor",
    "SaliencyViT",
    "SimCLR",
    "SpatialSiamese",
    "dino_loss",
    "info_nce",
    "nt_xent",
]
