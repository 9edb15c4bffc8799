"""PhotoMaker: pictures of the person in a few photos, by stacked ID embedding (arXiv 2312.04461)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from photomaker.method.pipeline import PhotoMakerPipeline

__all__ = ["PhotoMakerPipeline"]


def __getattr__(name: str) -> Any:
    """Import the pipeline, and torch with it, only for those who make pictures: deploying needs neither."""
    if name == "PhotoMakerPipeline":
        from photomaker.collector import collector_at_rest

        with collector_at_rest():
            from photomaker.method.pipeline import PhotoMakerPipeline
        return PhotoMakerPipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
