"""2DVMamba on labelled patches, groups held out, against `texture` with a logistic regression.

    python -m benchmarks.tiles [--data FOLDER --groups CSV --group-column NAME] [--out RUN] [--size nano] [--px 96]

Without --data: the lung patches of LC25000 in ../shared, if they are there. Both see the same divisions, and choose
(epoch, or strength of the penalty) on the same validation groups. `texture` sees the patches at their full size.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.machine import describe_machine
from wsi2dmamba.core.progress import track
from wsi2dmamba.evaluation.compare import compare
from wsi2dmamba.evaluation.config import EvalConfig, TableColumns
from wsi2dmamba.evaluation.judge import evaluate
from wsi2dmamba.evaluation.predictions import read_predictions
from wsi2dmamba.evaluation.report import format_interval
from wsi2dmamba.evaluation.terminal import print_comparison
from wsi2dmamba.features.encoders.texture import TextureEncoder
from wsi2dmamba.training.tiles.config import TileRun, parse_tile_run
from wsi2dmamba.training.tiles.pixels import Pixels
from wsi2dmamba.training.tiles.run import TABLE, train_tiles
from wsi2dmamba.training.tiles.table import read_tiles

_SHARED = Path(os.environ.get("WSI2DMAMBA_SHARED", Path(__file__).resolve().parents[2] / "shared"))
_LUNG = _SHARED / "data" / "tiles" / "lc25000_lung"
_PENALTIES = (0.001, 0.01, 0.1, 1.0)


def texture_features(paths: list[Path], px: int) -> NDArray[np.float32]:
    """Return the (N, 215) `texture` features of images."""
    pixels, encoder = Pixels(paths, px, 0.0, 1), TextureEncoder()
    blocks = range(0, len(paths), 16)
    rows = [
        encoder.encode(pixels.batch(range(start, min(start + 16, len(paths)))))
        for start in track(blocks, len(blocks), "texture", "batches")
    ]
    return torch.cat(rows).numpy()


def texture_predictions(run: TileRun, side: int) -> pd.DataFrame:
    """Return predictions of `texture` with a logistic regression on the divisions of a finished run."""
    table = pd.read_csv(run.out / TABLE, dtype=str, keep_default_na=False)
    paths = {tile.name: tile.path for tile in read_tiles(run.tiles)}
    features = texture_features([paths[name] for name in table["name"]], side)
    labels = table["label"].to_numpy()
    parts = []
    for column in [name for name in table.columns if name.startswith("fold-")]:
        train, validation = (table[column] == part for part in ("train", "validation"))
        fitted = [
            make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=3000)).fit(features[train], labels[train])
            for c in _PENALTIES
        ]
        losses = [log_loss(labels[validation], model.predict_proba(features[validation])) for model in fitted]
        best = fitted[int(np.argmin(losses))]
        group = table["group"].where(table["group"] != "", table["name"])
        rows = pd.DataFrame({"case_id": group, "tile": table["name"], "fold": int(column[5:])})
        rows = rows.assign(seed=0, split=table[column], label=labels)
        probabilities = best.predict_proba(features)
        parts.append(rows.assign(**{f"prob_{name}": probabilities[:, k] for k, name in enumerate(best.classes_)}))
    return pd.concat(parts, ignore_index=True)


def main() -> None:
    """Train if need be, and print both systems per group and per patch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=_LUNG)
    parser.add_argument("--groups", type=Path, default=None)
    parser.add_argument("--group-column", default=None)
    parser.add_argument("--out", type=Path, default=None)
    parser.add_argument("--size", default="nano")
    parser.add_argument("--px", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--texture-px", type=int, default=224)
    asked = parser.parse_args()
    if not asked.data.exists():
        print(f"no patches at {asked.data}: nothing measured")
        return
    lung = asked.data == _LUNG
    tiles = {
        "data": asked.data,
        "groups": _LUNG / "clusters.csv" if lung else asked.groups,
        "group_column": "source_cluster" if lung else asked.group_column,
    }
    with tempfile.TemporaryDirectory() as scratch:
        out = asked.out or Path(scratch) / "run"
        values = {"tiles": tiles, "out": out, "size": asked.size, "px": asked.px, "folds": 5}
        run = parse_tile_run({**values, "train": {"epochs": asked.epochs}})
        train_tiles(run, threads=1, say=lambda line: print(line, file=sys.stderr))
        judge(run, texture_predictions(run, asked.texture_px))


def judge(run: TileRun, baseline: pd.DataFrame) -> None:
    """Print accuracy and AUC with intervals, and the paired comparison over groups."""
    print(describe_machine())
    trained = pd.read_csv(run.out / "predictions.csv", dtype=str, keep_default_na=False)
    for unit in ("case_id", "tile"):
        for name, table in ((f"2dvmamba {run.size} {run.px} px", trained), ("texture + logistic regression", baseline)):
            found = evaluate(read_predictions(table.copy(), TableColumns(case=unit)))
            print(f"{'group' if unit == 'case_id' else 'patch'}, {name}: ", end="")
            print(", ".join(f"{metric} {format_interval(found.pooled[metric])}" for metric in ("accuracy", "auc")))
    print_comparison(
        compare(read_predictions(trained), read_predictions(baseline), EvalConfig()), ("2dvmamba", "texture")
    )


if __name__ == "__main__":
    main()
