"""Pictures on their way to the caller."""

import pytest
from PIL import Image

from photomaker.delivery import delivered, units
from photomaker.request import Picture
from tests.serving import content, picture

FACE = Image.new("RGB", (16, 24), "tan")


def test_pictures_stay_in_order_and_the_log_tells_their_likeness() -> None:
    made = [Picture(FACE, compare=lambda _: 0.534), Picture(FACE), Picture(FACE, withheld=True, compare=lambda _: 0.9)]
    lines: list[str] = []
    sent = delivered(iter(made), "webp", "in_memory", lines.append)
    assert [each.picture for each in sent] == made
    assert lines == ["picture 1: likeness 0.53"]
    for each in sent:
        file = each.file.model_dump()
        assert (file["width"], file["height"], file["content_type"]) == (16, 24, "image/webp")
        assert file["file_size"] == len(content(file))
        assert picture(file).format == "WEBP"
        assert each.seconds > 0


@pytest.mark.parametrize(
    ("size", "billed"),
    [((64, 64), 1), ((1024, 1024), 1), ((1536, 640), 1), ((1032, 1024), 2), ((2048, 1024), 2), ((2048, 2048), 4)],
)
def test_a_picture_costs_a_unit_for_every_megapixel_begun(size: tuple[int, int], billed: int) -> None:
    assert units(*size) == billed
