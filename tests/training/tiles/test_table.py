"""Which patches there are, and how they are divided."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fabricate import tile_folder
from wsi2dmamba.core.errors import ConfigError, InputError
from wsi2dmamba.training.tiles.config import TileData, parse_tile_run
from wsi2dmamba.training.tiles.splits import divide
from wsi2dmamba.training.tiles.table import Tile, read_tiles


def empty(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_folder_names_class_and_group(tmp_path):
    for name in (
        "a/1.png",
        "a/p1/x/2.JPG",
        "b/p1/x/3.tif",
        "b/notes.txt",
        "stray.png",
        ".cache/x.png",
        "a/.hidden.png",
    ):
        empty(tmp_path / name)
    tiles = read_tiles(TileData(data=tmp_path))
    assert [(t.name, t.label, t.group) for t in tiles] == [
        ("a/1.png", "a", None),
        ("a/p1/x/2.JPG", "a", "p1/x"),
        ("b/p1/x/3.tif", "b", "p1/x"),
    ]


def test_a_table_beside_a_folder_names_groups(tmp_path):
    for name in ("a/1.png", "b/2.png"):
        empty(tmp_path / name)
    table = tmp_path / "g.csv"
    table.write_text("file,source_cluster\na/1.png,7\nb/2.png,8\n")
    tiles = read_tiles(TileData(data=tmp_path, groups=table, group_column="source_cluster"))
    assert [t.group for t in tiles] == ["7", "8"]
    with pytest.raises(InputError, match="no column for the group; name it with --group-column"):
        read_tiles(TileData(data=tmp_path, groups=table))
    table.write_text("file,source_cluster\na/1.png,7\n")
    with pytest.raises(InputError, match=r"no row for 'b/2\.png'"):
        read_tiles(TileData(data=tmp_path, groups=table, group_column="source_cluster"))


def test_a_table_of_images(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text(
        "Path,Label,Patient,split\nx/1.png,a,p,train\nx/2.png,b,p,train\nx/3.png,b,q,val\nx/4.png,a,r,test\n"
    )
    tiles = read_tiles(TileData(data=table))
    assert tiles[2] == Tile("x/3.png", tmp_path / "x/3.png", "b", "q", "validation")
    (fold,) = divide(tiles, parts=5, folds=1, seed=0)
    assert (fold.train, fold.validation, fold.test) == ((0, 1), (2,), (3,))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n", "has no rows"),
        ("path\n1.png\n", "no column for the label"),
        ("path,label\n1.png,a\n2.png,a\n", "all images are of one class, 'a'"),
        ("path,label\n1.png,a\n1.png,b\n", "lists '1.png' more than once"),
        ("path,label\n1.png,a\n2.png,\n", "line 3: no label"),
        ("path,label,split\n1.png,a,train\n2.png,b,somewhere\n", "line 3: split 'somewhere'"),
    ],
)
def test_a_bad_table_is_refused(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_tiles(TileData(data=tmp_path / "t.csv"))


def test_an_empty_or_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="has no images"):
        read_tiles(TileData(data=tmp_path))
    with pytest.raises(InputError, match="no folder or table"):
        read_tiles(TileData(data=tmp_path / "absent"))


def test_groups_are_never_divided_and_all_are_tested_once(tmp_path):
    tiles = read_tiles(TileData(data=tile_folder(tmp_path, patients=7, per_patient=3)))
    folds = divide(tiles, parts=5, folds=5, seed=3)
    tested: list[int] = []
    for fold in folds:
        groups = [{tiles[i].group for i in members} for _, members in fold.parts()]
        assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
        assert sorted([*fold.train, *fold.validation, *fold.test]) == list(range(len(tiles)))
        tested += fold.test
    assert sorted(tested) == list(range(len(tiles)))
    assert divide(tiles, 5, 2, 3) == folds[:2] != divide(tiles, 5, 2, 4)


def test_divisions_that_cannot_be_are_refused():
    def tile(name: str, label: str, group: str | None, split: str | None = None) -> Tile:
        return Tile(name, Path(name), label, group, split)

    few = [tile("1", "a", "p"), tile("2", "b", "q"), tile("3", "b", "r")]
    with pytest.raises(InputError, match="class 'a' has 1 groups, too few for 3 parts"):
        divide(few, 3, 1, 0)
    one_sided = [tile("1", "a", "p", "train"), tile("2", "b", "q", "test"), tile("3", "a", "r", "validation")]
    with pytest.raises(InputError, match="train has no image of class 'b'"):
        divide(one_sided, 3, 1, 0)
    leaking = [tile("1", "a", "p", "train"), tile("2", "b", "p", "test")]
    with pytest.raises(InputError, match="group 'p' is in both train and test"):
        divide(leaking, 5, 1, 0)


def test_settings_are_checked(tmp_path):
    values = {"tiles": {"data": tmp_path}, "out": tmp_path / "run"}
    run = parse_tile_run(dict(values), ["train.ema=0.9", "augment.rotation=10"])
    assert (run.train.ema, run.augment.rotation, run.train.weight_decay) == (0.9, 10, 0.05)
    wrong = {
        "train.emma=1": "did you mean 'ema'",
        "train.patch_dropout=0.5": "a setting of slides",
        "train.seeds=[1, 2]": "one seed",
        "folds=6": "more than the 5 parts",
    }
    for setting, message in wrong.items():
        with pytest.raises(ConfigError, match=message):
            parse_tile_run({**values}, [setting])
