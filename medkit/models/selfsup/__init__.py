"""Self-supervised pre-training: what mmpretrain's models lack."""

from medkit.models.selfsup.similarity import CosineSimilarityLoss

__all__ = ["CosineSimilarityLoss"]
