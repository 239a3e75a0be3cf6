"""Self-supervised pre-training: what mmpretrain's models lack."""

from medkit.models.selfsup.contig import ContIG
from medkit.models.selfsup.correlation import CrossCorrelationHead
from medkit.models.selfsup.pair_distance import PairDistanceLoss
from medkit.models.selfsup.projector import ProjectionNeck
from medkit.models.selfsup.similarity import CosineSimilarityLoss
from medkit.models.selfsup.spatial_siamese import SpatialSiamese

__all__ = [
    "ContIG",
    "CosineSimilarityLoss",
    "CrossCorrelationHead",
    "PairDistanceLoss",
    "ProjectionNeck",
    "SpatialSiamese",
]
