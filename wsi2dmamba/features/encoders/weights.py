"""Weights from the hub or a local file, read as tensors and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from wsi2dmamba.core.errors import DependencyError, EncoderError
from wsi2dmamba.features.encoders.fingerprint import file_revision

# safetensors first: it cannot hold anything but tensors.
_NAMES = ("model.safetensors", "pytorch_model.bin")


def local_or_hub_weights(hub_id: str, local: str | None, offline: bool) -> tuple[Path, str]:
    """Return a weights file and its exact revision.

    Parameters
    ----------
    hub_id
        ``owner/name`` on the Hugging Face hub.
    local
        A file, or a folder with ``model.safetensors`` or ``pytorch_model.bin``, to use instead.
    offline
        Take what was downloaded before; never ask the network.

    Raises
    ------
    EncoderError
        If it is not there, gated, or the hub cannot be reached; the message says what to do.
    """
    if local is not None:
        path = Path(local)
        if path.is_dir():
            path = next((path / name for name in _NAMES if (path / name).is_file()), path / _NAMES[0])
        if not path.is_file():
            raise EncoderError(f"the weights {path} do not exist")
        return path, file_revision(path)
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
    except ImportError as error:
        raise DependencyError("the hub needs huggingface_hub; run: pip install 'wsi2dmamba[encoders]'") from error
    for name in _NAMES:
        with hub_errors(hub_id):
            try:
                path = Path(hf_hub_download(hub_id, name, local_files_only=offline))
            except LocalEntryNotFoundError:
                if name == _NAMES[-1]:
                    raise
                continue
            except EntryNotFoundError:
                continue
            return path, _commit_of(path)
    raise EncoderError(f"{hub_id} has neither {' nor '.join(_NAMES)}; give --weights FILE")


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors or torch file; pickled code in the latter is refused.

    Raises
    ------
    EncoderError
        If the file is damaged or holds more than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors and torch raise many kinds for a damaged or unsafe file
        raise EncoderError(f"the weights {path} are damaged or hold more than tensors; they are not loaded") from error
    for key in ("model", "state_dict", "teacher"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    return state


def load_strictly(model: torch.nn.Module, path: Path, name: str) -> None:
    """Load weights, requiring every tensor to find its place.

    Raises
    ------
    EncoderError
        If the file is of another network.
    """
    state = read_state_dict(path)
    expected = model.state_dict()
    # Attention masks and heads are no weights: some files carry them, some do not.
    state = {key: value for key, value in state.items() if key in expected or not _ignorable(key)}
    missing = [key for key in expected if key not in state and not _ignorable(key)]
    unexpected = [key for key in state if key not in expected]
    shapes = [key for key in state if key in expected and state[key].shape != expected[key].shape]
    if missing or unexpected or shapes:
        example = (missing + unexpected + shapes)[0]
        raise EncoderError(
            f"the weights {path} do not fit {name}: {len(missing)} tensors missing, {len(unexpected)} unknown, "
            f"{len(shapes)} of another shape (e.g. {example})"
        )
    model.load_state_dict(state, strict=False)


@contextmanager
def hub_errors(hub_id: str) -> Iterator[None]:
    """Turn the errors of the hub client into one line that says what to do."""
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        yield
    except GatedRepoError as error:
        advice = f"ask for access at https://huggingface.co/{hub_id}, then log in with `hf auth login`"
        raise EncoderError(f"{hub_id} is gated: {advice}, or give --weights FILE") from error
    except LocalEntryNotFoundError as error:
        advice = "download it where there is a network, or give --weights FILE"
        raise EncoderError(f"{hub_id} is not on this machine and the hub cannot be reached; {advice}") from error
    except RepositoryNotFoundError as error:
        raise EncoderError(f"{hub_id} is not on the hub, or needs `hf auth login`; or give --weights FILE") from error
    except (HfHubHTTPError, OSError) as error:
        text = " ".join(str(error).split())[:160]
        raise EncoderError(f"{hub_id} cannot be downloaded ({text}); give --weights FILE") from error


def _commit_of(path: Path) -> str:
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else file_revision(path)


def _ignorable(key: str) -> bool:
    return key.endswith(("attn_mask", "relative_position_index")) or key.startswith(("head.", "fc."))
