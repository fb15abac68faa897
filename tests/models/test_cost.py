"""The list of models: every one with paper, parameters and cost."""

from __future__ import annotations

from typer.testing import CliRunner

from wsi2dmamba.cli import app
from wsi2dmamba.models.cost import bag_milliseconds, parameter_count
from wsi2dmamba.models.registry import model_names


def test_parameters_are_counted():
    hidden = 3 * 128 + 128
    assert parameter_count("mean", 3) == hidden + 128 * 2 + 2


def test_a_bag_is_measured():
    forward, both = bag_milliseconds("abmil", 4, 5, repeats=1)
    assert forward > 0 and both > 0


def test_the_command_lists_every_model():
    result = CliRunner().invoke(app, ["models", "--in-dim", "16"])
    assert result.exit_code == 0, result.output
    for name in model_names():
        assert name in result.output
    assert "arXiv 2412.00678" in result.output
