"""The most certain mistakes: what a pathologist should look at first."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from wsi2dmamba.evaluation.results import Evaluation

Thumbnail = Callable[[str], bytes | None]


@dataclass(frozen=True)
class Mistake:
    """A patient the model was certainly wrong about.

    Attributes
    ----------
    case_id, fold
        Who, and which fold's model said it.
    truth, said
        What is known and what was predicted, in words.
    thumbnail
        PNG of the patient's first slide, when the slide is at hand.
    """

    case_id: str
    fold: int
    truth: str
    said: str
    thumbnail: bytes | None = None

    @property
    def data_uri(self) -> str | None:
        """The thumbnail as an address that a self-contained page can hold."""
        if self.thumbnail is None:
            return None
        return "data:image/png;base64," + base64.b64encode(self.thumbnail).decode("ascii")


def most_certain_mistakes(found: Evaluation, thumbnail: Thumbnail | None = None) -> list[Mistake]:
    """Return the mistakes of a classification, the surest first; the furthest-off predictions of a regression.

    Parameters
    ----------
    found
        What was judged.
    thumbnail
        case_id → PNG, or None without the slide.
    """
    if found.task in ("classification", "ordinal"):
        mistakes = _of_classes(found)
    elif found.task == "regression":
        mistakes = _of_numbers(found)
    else:
        mistakes = _of_risks(found)
    chosen = mistakes[: found.config.mistakes]
    return [replace(one, thumbnail=thumbnail(one.case_id)) for one in chosen] if thumbnail else list(chosen)


def _of_classes(found: Evaluation) -> Sequence[Mistake]:
    rows, names = found.predictions.rows("test"), found.predictions.class_names
    predicted, certain = rows.probability.argmax(axis=1), rows.probability.max(axis=1)
    wrong = [k for k in (-certain).argsort(kind="stable") if predicted[k] != rows.label[k]]
    return _each_patient_once(
        [
            Mistake(
                rows.case_ids[rows.case[k]],
                int(rows.fold[k]),
                names[rows.label[k]],
                f"{names[predicted[k]]} ({certain[k]:.0%})",
            )
            for k in wrong
        ]
    )


def _of_numbers(found: Evaluation) -> Sequence[Mistake]:
    rows = found.predictions.rows("test")
    order = (-abs(rows.prediction - rows.target)).argsort(kind="stable")
    return _each_patient_once(
        [
            Mistake(
                rows.case_ids[rows.case[k]], int(rows.fold[k]), f"{rows.target[k]:.4g}", f"{rows.prediction[k]:.4g}"
            )
            for k in order
        ]
    )


def _of_risks(found: Evaluation) -> Sequence[Mistake]:
    """Early events of patients whom their fold's model put into the safer half."""
    test = found.predictions.table[found.predictions.table["split"] == "test"]
    rank = test.groupby(["fold", "seed"])["risk"].rank(pct=True)
    early = test.groupby(["fold", "seed"])["time"].rank(pct=True, ascending=False)
    table = test.assign(rank=rank, gap=early - rank)
    table = table[table["event"].astype(bool) & (table["gap"] > 0) & (table["rank"] <= 0.5)].sort_values(
        "gap", ascending=False
    )
    return _each_patient_once(
        [
            Mistake(str(case), int(fold), f"event at {time:.4g}", f"risk above {share:.0%} of the fold")
            for case, fold, time, share in table[["case_id", "fold", "time", "rank"]].itertuples(index=False)
        ]
    )


def _each_patient_once(mistakes: Sequence[Mistake]) -> list[Mistake]:
    return list({one.case_id: one for one in reversed(mistakes)}.values())[::-1]
