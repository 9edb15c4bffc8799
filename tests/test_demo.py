"""The demonstration's example is the documentation's, to the letter."""

from pathlib import Path

from photomaker.demo import DOCUMENTED_ARCHIVE, SNIPPET

DOCUMENTATION = (Path(__file__).parent / "endpoint.md").read_text()


def test_the_example_is_the_documentations() -> None:
    assert f"```python\n{SNIPPET}```" in DOCUMENTATION
    assert SNIPPET.count(DOCUMENTED_ARCHIVE) == 1
