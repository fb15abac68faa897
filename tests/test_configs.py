"""The configs under configs/ load, and read tables laid out as the published ones are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from wsi2dmamba.cohort.splits import make_splits
from wsi2dmamba.cohort.table import load_cohort
from wsi2dmamba.config import RunConfig, parse_config
from wsi2dmamba.core.errors import DependencyError, ModelError
from wsi2dmamba.models.registry import parse_options

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
PAPER = sorted((CONFIGS / "paper").glob("*.yaml"))
SURVIVAL = ["tcga-kirc", "tcga-kirp", "tcga-luad", "tcga-stad", "tcga-ucec"]


def load(path: Path) -> RunConfig:
    return parse_config(yaml.safe_load(path.read_text()), str(path))


def test_there_is_one_config_per_published_benchmark() -> None:
    classification = ["bracs", "dhmc", "panda", "tcga-brca", "tcga-nsclc"]
    assert [path.stem for path in PAPER] == sorted([*classification, *SURVIVAL])


@pytest.mark.parametrize("path", [*PAPER, *sorted(CONFIGS.glob("*.yaml"))], ids=lambda path: path.stem)
def test_every_config_is_valid(path: Path) -> None:
    config = load(path)
    try:
        parse_options(config.model.name, config.model.options)
    except (ModelError, DependencyError, ModuleNotFoundError):
        pytest.skip("the model is not installed")
    assert path.parent.name != "paper" or config.name == f"paper-{path.stem}"


def write(path: Path, table: pd.DataFrame, index: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=index)


def as_published(key: str) -> dict[str, tuple[pd.DataFrame, bool]]:
    """Return file → (table, with an index column), laid out as the authors publish them, with made-up ids."""
    count = 60
    cases = [f"TCGA-{index % 7:02d}-{index:04d}" for index in range(count)]
    slides = [f"{case}-01Z-00-DX1.{index:08X}" for index, case in enumerate(cases)]
    parts = ["train"] * 36 + ["test"] * 12 + ["val"] * 12
    if key == "bracs":
        labels = [["AT", "BT", "MT"][index % 3] for index in range(count)]
        table = pd.DataFrame({"slide_id": [f"BRACS_{i}" for i in range(count)], "label": labels, "split": parts})
        return {"BRACS.csv": (table, False)}
    if key == "dhmc":
        names = [f"DHMC_{index:04d}.png" for index in range(count)]
        words = [{"train": "Train", "val": "Val", "test": "Test"}[part] for part in parts]
        kinds = [["Clearcell", "Papillary", "Oncocytoma"][index % 3] for index in range(count)]
        table = pd.DataFrame({"File Name": names, "Diagnosis": kinds, "Data Split": words})
        return {"DHMC_MetaData_Release_1.0.csv": (table, False)}
    if key == "panda":
        table = pd.DataFrame({"image_id": [f"{i:032x}" for i in range(count)], "data_provider": "radboud"})
        grades = [["0+0", "negative", "3+3", "3+4", "4+4", "5+5"][index % 6] for index in range(count)]
        return {"train.csv": (table.assign(isup_grade=[i % 6 for i in range(count)], gleason_score=grades), False)}
    if key == "tcga-nsclc":
        labels = [["LUAD", "LUSC"][index % 2] for index in range(count)]
        table = pd.DataFrame({"dir": "path", "case_id": slides, "slide_id": slides, "label": labels})
        return {"LUAD_LUSC.csv": (table, False)}
    if key == "tcga-brca":
        codes = [["IDC", "ILC", "MDLC"][index % 3] for index in range(count)]
        table = pd.DataFrame({"case_id": cases, "slide_id": [f"{s}.svs" for s in slides], "oncotree_code": codes})
        return {"tcga_brca_all_clean.csv.zip": (table.assign(survival_months=1.0, censorship=0), True)}
    times = [1.0 + (37 * index) % 101 for index in range(count)]
    table = pd.DataFrame(
        {
            "case_id": cases,
            "slide_id": slides,
            "censorship": [float(i % 2) for i in range(count)],
            "survival_months": times,
        }
    )
    folds: dict[str, Any] = {f"{key.removeprefix('tcga-').upper()}_processed.csv": (table, True)}
    for fold in range(5):
        tested = [case for index, case in enumerate(cases) if index % 5 == fold]
        wide = {"train": pd.Series([c for c in cases if c not in tested]), "val": pd.Series(tested), "test": None}
        folds[f"splits/splits_{fold}.csv"] = (pd.DataFrame(wide), True)
    return folds


@pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)
def test_published_files_load_as_they_are(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, (table, index) in as_published(path.stem).items():
        write(tmp_path / "data" / path.stem / name, table, index)
    config = load(path)
    cohort = load_cohort(config.cohort)
    folds = make_splits(cohort, config.splits, config.cohort)
    assert len(cohort) == (40 if path.stem == "tcga-brca" else 60)
    assert len(folds) == {"tcga-nsclc": 10, "tcga-brca": 5}.get(path.stem, 5 if path.stem in SURVIVAL else 1)
    if path.stem in SURVIVAL:
        assert sum(bool(case.event) for case in cohort.cases) == 30
        assert sorted(case for fold in folds for case in fold.test) == [case.case_id for case in cohort.cases]
    if path.stem == "tcga-nsclc":
        assert {len(case.case_id) for case in cohort.cases} == {12}
    if path.stem in ("bracs", "dhmc"):
        assert [len(ids) for _, ids in folds[0].parts()] == [36, 12, 12]


def test_the_reference_names_every_setting() -> None:
    from wsi2dmamba.config import known_keys

    text = (CONFIGS.parent / "docs" / "config.md").read_text()
    for section, keys in known_keys(RunConfig).items():
        for key in keys or [section]:
            assert f"| `{key}` |" in text, f"docs/config.md lacks {section}.{key}"
