"""The body of the documentation's example request."""

import json
import re

from .project import ROOT

DOCUMENTATION = (ROOT / "tests" / "endpoint.md").read_text()
(DOCUMENTED,) = (
    json.loads(block)
    for block in re.findall(r"```json\n(.*?)```", DOCUMENTATION, re.DOTALL)
    if '"image_archive_url"' in block and '"seed"' in block
)
