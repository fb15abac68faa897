"""What the demo prints at its end: the models side by side, the reports, the time."""

from __future__ import annotations

from wsi2dmamba.core.errors import EvaluationError
from wsi2dmamba.demo.config import MODELS, TASKS, run_name
from wsi2dmamba.demo.pipeline import STAGES, DemoReport
from wsi2dmamba.evaluation.bootstrap import Interval

_TITLES = {"phenotype": "immune phenotype", "survival": "survival"}
_METRICS = {
    "phenotype": (("auc", "AUC"), ("f1", "F1 (macro)"), ("balanced_accuracy", "balanced accuracy")),
    "survival": (("c_index", "C-index"),),
}
_MODEL_NAMES = {"2dmamba": "2DMamba", "abmil": "ABMIL"}
_FIRST, _WIDTH = 22, 22


def summary_lines(report: DemoReport) -> list[str]:
    """Return the lines that the demo ends with.

    Parameters
    ----------
    report
        What the demo found.

    Raises
    ------
    EvaluationError
        If a run lacks a metric of the table.
    """
    lines = [
        f"{report.patients} patients, {report.slides} slides; every patient judged by a model that never saw them",
        "",
        "".join(["".ljust(_FIRST), *(_MODEL_NAMES[model].ljust(_WIDTH) for model in MODELS)]).rstrip(),
    ]
    for task in TASKS:
        lines.append(_TITLES[task])
        for key, name in _METRICS[task]:
            cells = [_cell(_metric(report, run_name(task, model), key)) for model in MODELS]
            lines.append("".join([f"  {name}".ljust(_FIRST), *(cell.ljust(_WIDTH) for cell in cells)]).rstrip())
    lines += ["", "Estimate (95 % interval, bootstrap over patients); 0.5 is chance for AUC and C-index.", ""]
    lines += ["Reports:", *(f"  {path}" for path in report.reports.values()), ""]
    stages = ", ".join(f"{stage} {report.seconds[stage]:.0f} s" for stage in STAGES)
    four = sum(report.seconds[stage] for stage in STAGES[1:])
    return [*lines, f"Time: {stages}; the four stages together {four:.0f} s"]


def _metric(report: DemoReport, run: str, key: str) -> Interval:
    try:
        return report.metrics[run][key]
    except KeyError as error:
        raise EvaluationError(f"the evaluation of {run} has no {key}; run `wsi2dmamba eval` on it") from error


def _cell(value: Interval) -> str:
    if value.estimate is None:
        return "not defined"
    if value.lower is None or value.upper is None:
        return f"{value.estimate:.2f}"
    return f"{value.estimate:.2f} ({value.lower:.2f}–{value.upper:.2f})"
