"""The runbook of GPU faults is the table in the code, and its names are the driver's and ours."""

import re

from app.policy.fault_plan import TABLE, runbook
from app.settings import ROOT
from engines.cuda_status import CudaError, CudaStatus, told

NAMED = re.compile(r"(CUDA_ERROR_\w+) \((\d+)\)")
PLACE = ROOT / "engines" / "FAULTS.md"


def strange_statuses(text: str) -> list[str]:
    """CUDA results in the text that the driver does not have, or has under another number."""
    named = NAMED.findall(text)
    return [name for name, number in named if CudaStatus.__members__.get(name) != int(number)]


def test_the_runbook_that_lies_beside_the_engines_is_the_table() -> None:
    assert PLACE.read_text(encoding="utf-8") == runbook()


def test_every_status_of_the_table_is_the_drivers_own() -> None:
    assert strange_statuses(runbook()) == []
    assert len(NAMED.findall(runbook())) == 4


def test_the_check_finds_a_status_that_is_wrong() -> None:
    assert strange_statuses("CUDA_ERROR_OUT_OF_MEMORY (3)") == ["CUDA_ERROR_OUT_OF_MEMORY"]
    assert strange_statuses("CUDA_ERROR_TOO_HOT (7)") == ["CUDA_ERROR_TOO_HOT"]


def test_each_status_becomes_the_error_of_its_row() -> None:
    rows = [(match[1], row.error) for row in TABLE if (match := NAMED.match(row.status))]
    raised = [type(told(CudaError(CudaStatus[name], "call"))) for name, _ in rows]
    assert raised == [error for _, error in rows]
