import pytest
from pydantic import ValidationError

from wsi2dmamba.core.validation import Settings, one_line


class Inner(Settings):
    lr: float = 1e-4


class Outer(Settings):
    train: Inner = Inner()


def test_an_unknown_key_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"train": {"lrr": 1.0}})
    assert one_line(caught.value, {"train": {"lr": None}}) == "unknown key 'train.lrr' (did you mean 'lr'?)"


def test_a_wrong_value_says_where() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"train": {"lr": "fast"}})
    assert one_line(caught.value).startswith("train.lr: ")
