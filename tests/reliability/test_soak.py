"""A soak of half a minute on real servers."""

from __future__ import annotations

from pathlib import Path

import pytest

from reliability import soak


@pytest.mark.timeout(180)
@pytest.mark.server
def test_random_faults_for_half_a_minute_cost_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.md"

    code = soak.main(["--minutes", "0.4", "--seed", "5", "--out", str(report)])

    assert (0, report.read_text()) == (code, capsys.readouterr().out)
    assert "Verdict: **clean**." in report.read_text()
