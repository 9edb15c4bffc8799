"""PhotoMaker: pictures of the person in a few photos, by stacked ID embedding (arXiv 2312.04461)."""

from photomaker.pipeline import PhotoMakerPipeline

__all__ = ["PhotoMakerPipeline"]
