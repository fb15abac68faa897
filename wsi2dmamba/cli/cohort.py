"""`wsi2dmamba init` and `wsi2dmamba splits`."""

from __future__ import annotations

from pathlib import Path

import typer

from wsi2dmamba.cli import app


@app.command()
def init(
    csv: Path = typer.Option(..., help="The cohort table: one row per slide (.csv or .csv.zip)."),
    features: Path = typer.Option(..., help="Folder of feature files, as `wsi2dmamba extract` wrote it."),
    out: Path = typer.Option(Path("run.yaml"), help="The config to write."),
    task: str | None = typer.Option(
        None, help="classification, ordinal, regression, survival or cox. Default: from the columns of the table."
    ),
    model: str = typer.Option("2dmamba", help="The aggregator; `wsi2dmamba models` lists them."),
    name: str | None = typer.Option(None, help="Name of the run. Default: the table's name."),
    slide: str | None = typer.Option(None, help="Column of slide ids. Columns that are not given are recognised."),
    case: str | None = typer.Option(None, help="Column of patients."),
    label: str | None = typer.Option(None, help="Column of classes."),
    time: str | None = typer.Option(None, help="Column of follow-up times."),
    event: str | None = typer.Option(None, help="Column that is 1 where the event was seen."),
    censorship: str | None = typer.Option(None, help="Column that is 1 where the patient was censored."),
    target: str | None = typer.Option(None, help="Column of the number to predict."),
    split: str | None = typer.Option(None, help="Column that says train, validation or test, or a fold number."),
    site: str | None = typer.Option(None, help="Column of sites, for leave-one-site-out."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing config."),
) -> None:
    """Write a commented config for a table, and check the table against the features.

    Reports patients, slides and classes or events, slides without features (with the nearest name), features
    without a row, slides listed twice, patients with several slides, the counts of every fold, and leakage in given
    splits. Exit code 1 when something stops a training; the config is written all the same.

    Example: wsi2dmamba init --csv cohort.csv --features features/texture --out run.yaml; read run.yaml, change what
    you like, then: wsi2dmamba train --config run.yaml
    """
    from wsi2dmamba.config import load_config
    from wsi2dmamba.core.errors import InputError
    from wsi2dmamba.core.files import write_text
    from wsi2dmamba.training.check import check_run
    from wsi2dmamba.training.template import config_text

    if out.exists() and not overwrite:
        raise InputError(f"{out} exists; use --overwrite, or another name with --out")
    given = {
        "slide": slide, "case": case, "label": label, "time": time, "event": event, "censorship": censorship,
        "target": target, "split": split, "site": site,
    }  # fmt: skip
    text = config_text(file=out, csv=csv, features=features, task=task, model=model, name=name, given=given)
    write_text(out, text)
    typer.echo(f"written: {out}")
    found = check_run(load_config(out))
    for line in found.lines():
        typer.echo(line)
    if found.problems:
        raise typer.Exit(1)
    typer.echo(f"next: wsi2dmamba train --config {out}")


@app.command()
def splits(
    config: Path = typer.Option(..., "--config", "-c", help="The run's YAML."),
    out: Path = typer.Option(Path("splits.csv"), help="The file to write: columns case_id, fold, split."),
    settings: list[str] = typer.Option([], "--set", "-s", help="Change one setting, e.g. splits.folds=10."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an existing file."),
) -> None:
    """Divide the patients into folds and save them.

    Seeded and stratified by class, or by event and time; a patient is never in two parts. To use the same folds in
    several runs, set in each config: splits: {kind: files, files: splits.csv}

    Examples: wsi2dmamba splits -c run.yaml --set splits.kind=montecarlo --set splits.folds=10 --out ten.csv;
    wsi2dmamba splits -c run.yaml --set splits.kind=site --set splits.column=hospital
    """
    from wsi2dmamba.cohort.saved import save_splits
    from wsi2dmamba.cohort.splits import make_splits, weak_spots
    from wsi2dmamba.cohort.summary import cohort_lines, fold_lines
    from wsi2dmamba.cohort.table import load_cohort
    from wsi2dmamba.config import load_config
    from wsi2dmamba.core.errors import InputError

    if out.exists() and not overwrite:
        raise InputError(f"{out} exists; use --overwrite, or another name with --out")
    run = load_config(config, settings, say=lambda line: typer.echo(line, err=True))
    cohort = load_cohort(run.cohort)
    folds = make_splits(cohort, run.splits, run.cohort)
    save_splits(out, folds)
    for line in [*cohort_lines(cohort), *fold_lines(folds, cohort), *weak_spots(folds, cohort)]:
        typer.echo(line)
    typer.echo(f"written: {out}")
