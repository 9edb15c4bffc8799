"""docs/localfal.md says what is so."""

import re
from pathlib import Path

import fal

from localfal.app_requests import NOT_FOR_APP
from localfal.environment import Addresses, client_environment
from localfal.hosts import FAL_HOSTS

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "localfal.md").read_text()
ROWS = [row.strip("|").split("|") for row in PAGE.split("## Coverage")[1].splitlines() if row.startswith("| ")][1:]


def test_every_covered_feature_names_a_test_that_shows_it() -> None:
    assert len(ROWS) > 20
    for feature, verdict, how, test in ([cell.strip() for cell in row] for row in ROWS):
        assert verdict in ("works", "differs", "refused"), feature
        assert verdict == "works" or how, feature
        file, _, name = test.strip("`").partition("::")
        assert f"def {name}(" in (TESTS / file).read_text(), f"{feature}: no {test}"


def test_hosts_and_variables_are_those_of_the_code(tmp_path: Path) -> None:
    hosts = re.search(r"^Hosts: (.*?)\. URLs", PAGE, re.DOTALL | re.MULTILINE)
    assert hosts is not None
    assert re.findall(r"`([^`]+)`", hosts[1]) == list(FAL_HOSTS)
    table = PAGE.split("| variable | for |")[1].split("\n\n")[0]
    first_cells = " ".join(row.split("|")[1] for row in table.splitlines() if row.startswith("| `"))
    assert set(re.findall(r"`(\w+)`", first_cells)) == set(client_environment(Addresses(1, 2, 3, tmp_path), {}))


def test_no_option_of_an_app_and_no_header_goes_unmentioned() -> None:
    features = " ".join(row[0] for row in ROWS)
    # Of these, the SDK says that they are its own.
    inner = {"isolate_channel"}
    options = {name for name in fal.App.__annotations__ if not name.startswith("_")} - inner
    assert {name for name in options if f"`{name}`" not in features} == set()
    # What the gateway says of a caller, and the form of the JavaScript client's proxy, are in the text.
    inner = {"x-fal-caller-user-id", "x-fal-endpoint", "x-fal-request-id", "x-fal-target-url"}
    headers = {name for name in NOT_FOR_APP if name.startswith("x-fal-")} - inner
    assert {name for name in headers if name not in features.lower()} == set()
