"""`wsi2dmamba eval` and `wsi2dmamba compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from wsi2dmamba.cli import app
from wsi2dmamba.core.errors import InputError

if TYPE_CHECKING:
    from wsi2dmamba.evaluation.config import EvalConfig

_COLUMNS = "Columns of a foreign table (default: the usual name)"


@app.command("eval")
def evaluate_command(
    run: Path | None = typer.Argument(None, help="A run folder made by `wsi2dmamba train`."),
    predictions: list[Path] = typer.Option([], "--predictions", "-p", help="Judge this CSV instead; may be repeated."),
    out: Path | None = typer.Option(None, "--out", "-o", help="Output folder. Default: RUN/eval."),
    cohort: Path | None = typer.Option(None, help="Cohort CSV of an external cohort, judged with all folds' models."),
    features: Path | None = typer.Option(None, help="Its feature files, of the run's encoder."),
    resamples: int | None = typer.Option(None, help="Bootstrap resamples of the patients. Default: 1000."),
    confidence: float | None = typer.Option(None, help="Coverage of the intervals. Default: 0.95."),
    seed: int | None = typer.Option(None, help="Seed of the resampling. Default: 0."),
    subgroup: list[str] = typer.Option([], help="Column whose values are judged apart; may be repeated."),
    shuffle_coordinates: bool = typer.Option(
        False, help="Also ask the models again with every slide's patches shuffled: do they use the arrangement?"
    ),
    task: str | None = typer.Option(None, help="classification, ordinal, survival or regression. Default: found."),
    group_by: str | None = typer.Option(None, help="Columns, by commas: each combination is a system judged apart."),
    case_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
    fold_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
    seed_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
    split_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
    label_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
    probability_prefix: str = typer.Option("prob_", rich_help_panel=_COLUMNS),
    time_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
    event_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
    censorship_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
    risk_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
    target_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
    prediction_column: str | None = typer.Option(None, rich_help_panel=_COLUMNS),
) -> None:
    """Judge a run, or the predictions of any tool: metrics with intervals, curves, a report.

    Only rows with split = test are judged. Writes metrics.json, predictions.csv, figures/ (SVG, PNG, CSV) and
    report.html, one self-contained page. Every interval is a bootstrap over patients, the same for the same seed.

    A table of another tool needs case_id and either label with prob_CLASS columns, or time, event (or censorship,
    1 = censored) and risk, or target and prediction; fold, seed and split if there are any.

    \b
    Examples:
    wsi2dmamba eval runs/demo
    wsi2dmamba eval runs/demo --shuffle-coordinates
    wsi2dmamba eval runs/demo --cohort other.csv --features other/features
    wsi2dmamba eval --predictions theirs.csv --out judged --group-by model,cohort
    """
    from wsi2dmamba.evaluation.config import TableColumns

    settings: dict[str, object] = {"resamples": resamples, "confidence": confidence, "seed": seed}
    changed = {name: value for name, value in settings.items() if value is not None}
    if subgroup:
        changed["subgroups"] = tuple(subgroup)
    if (run is None) == (not predictions):
        raise InputError("give a run folder, or tables with --predictions, and not both; see wsi2dmamba eval --help")
    if (cohort is None) != (features is None) or (cohort is not None and run is None):
        raise InputError("an external cohort needs a run folder, --cohort and --features")
    if shuffle_coordinates and (run is None or cohort is not None):
        raise InputError("--shuffle-coordinates needs a run folder, and judges the run's own test patients")
    if run is not None:
        external = None if cohort is None or features is None else (cohort, features)
        _judge_run(run, changed, out, external, shuffle_coordinates)
        return
    if out is None:
        raise InputError("--predictions needs --out, the folder of the results")
    columns = TableColumns(
        case=case_column,
        fold=fold_column,
        seed=seed_column,
        split=split_column,
        label=label_column,
        time=time_column,
        event=event_column,
        censorship=censorship_column,
        risk=risk_column,
        target=target_column,
        prediction=prediction_column,
        probability_prefix=probability_prefix,
    )
    from wsi2dmamba.evaluation.foreign import evaluate_tables

    groups = [name.strip() for name in group_by.split(",")] if group_by else []
    evaluate_tables(predictions, out, _changed_config(None, changed), columns=columns, task=task, group_by=groups)


@app.command("compare")
def compare_command(
    a: Path = typer.Argument(..., help="A run folder, or a predictions CSV."),
    b: Path = typer.Argument(..., help="Another, of the same task."),
    out: Path | None = typer.Option(None, "--out", "-o", help="Write comparison.json into this folder."),
    resamples: int | None = typer.Option(None, help="Bootstrap resamples and permutations. Default: 1000."),
    confidence: float | None = typer.Option(None, help="Coverage of the intervals. Default: 0.95."),
    seed: int | None = typer.Option(None, help="Seed of the resampling. Default: 0."),
) -> None:
    """Compare two systems on the patients they share: differences with intervals, and P values.

    Both are judged on the same resampled patients. AUCs are tested by DeLong's method, everything else by a
    permutation test that swaps the two systems' predictions patient by patient.

    A − B is positive where A has the larger value; of errors (Brier, calibration, MAE) smaller is better.

    Example: wsi2dmamba compare runs/2dmamba runs/abmil
    """
    from wsi2dmamba.core.files import write_json
    from wsi2dmamba.evaluation.compare import compare
    from wsi2dmamba.evaluation.run import read_run_or_table
    from wsi2dmamba.evaluation.terminal import print_comparison

    settings: dict[str, object] = {"resamples": resamples, "confidence": confidence, "seed": seed}
    config = _changed_config(None, {name: value for name, value in settings.items() if value is not None})
    found = compare(read_run_or_table(a), read_run_or_table(b), config)
    print_comparison(found, (a.stem if a.is_file() else a.resolve().name, b.stem if b.is_file() else b.resolve().name))
    if out is not None:
        write_json(out / "comparison.json", {"a": str(a), "b": str(b), **found.to_dict()})
        typer.echo(f"written: {out / 'comparison.json'}", err=True)


def _judge_run(
    run: Path, changed: dict[str, object], out: Path | None, external: tuple[Path, Path] | None, shuffle: bool
) -> None:
    from wsi2dmamba.evaluation.run import evaluate_run, load_run
    from wsi2dmamba.evaluation.shuffled import NAMES, compare_with_shuffled
    from wsi2dmamba.evaluation.terminal import print_comparison, print_evaluation

    config = _changed_config(load_run(run).eval, changed)
    title = run.resolve().name
    shuffled = compare_with_shuffled(run, config) if shuffle else None
    if external is None:
        found, report = evaluate_run(run, config, out, shuffled=shuffled)
    else:
        from wsi2dmamba.evaluation.external import evaluate_external

        found, report = evaluate_external(run, *external, config, out)
        title = f"{title} on {external[0].stem}"
    print_evaluation(found, title)
    if shuffled is not None:
        print_comparison(shuffled, NAMES)
    typer.echo(f"report: {report}", err=True)


def _changed_config(config: EvalConfig | None, changed: dict[str, object]) -> EvalConfig:
    from pydantic import ValidationError

    from wsi2dmamba.core.validation import one_line
    from wsi2dmamba.evaluation.config import EvalConfig

    known = config.model_dump() if config is not None else {}
    try:
        return EvalConfig.model_validate({**known, **changed})
    except ValidationError as error:
        raise InputError(one_line(error)) from error
