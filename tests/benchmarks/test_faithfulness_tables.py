"""The tables are those of the record, without what only a program would write."""

from __future__ import annotations

from benchmarks.common.result_folders import PUBLISHED
from benchmarks.faithfulness.tables import headline_table, write_tables


def test_the_published_tables_are_those_of_the_published_record(published, tmp_path):
    record = published("faithfulness")
    for name in write_tables(tmp_path, record):
        text = (tmp_path / name).read_text()
        assert text == (PUBLISHED / "faithfulness" / name).read_text()
        assert not any(word in text for word in ("nan", "**", "1.0001", "null", "None"))
    assert max(map(len, headline_table(record).splitlines())) <= 100


def test_few_images_have_no_interval(published, tmp_path):
    record = published("faithfulness")
    record["differing"][0].update(value=0.5, lower=None, upper=None)
    record["differing"][1].update(value=float("nan"), lower=float("nan"), upper=float("nan"))
    write_tables(tmp_path, record)
    rows = (tmp_path / "differing.csv").read_text().splitlines()
    assert rows[1].endswith("AUROC,0.500 (too few images)")
    assert rows[2].endswith("AUROC,")
