import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tests.fabricate import slide_image
from tests.shared_data import shared_path
from wsi2dmamba.features.encoders.texture import TextureEncoder
from wsi2dmamba.features.encoders.texture.measures import (
    bin_counts,
    local_binary_patterns,
    nuclei,
    oriented_energies,
)
from wsi2dmamba.features.encoders.texture.stains import EOSIN, HAEMATOXYLIN, optical_density, unmixing_matrix


@pytest.fixture(scope="module")
def encoder() -> TextureEncoder:
    return TextureEncoder()


def patches(count: int = 12, side: int = 128, seed: int = 0) -> torch.Tensor:
    image = slide_image((side * 4, side * 3), seed=seed)
    tiles = image.reshape(3, side, 4, side, 3).transpose(0, 2, 1, 3, 4).reshape(-1, side, side, 3)
    return torch.from_numpy(np.ascontiguousarray(tiles[:count]))


def test_describes_a_patch_by_finite_numbers_of_order_one(encoder: TextureEncoder) -> None:
    features = encoder.encode(patches())
    assert features.shape == (12, encoder.info.dim)
    assert encoder.info.dim >= 128
    assert torch.isfinite(features).all()
    assert features.abs().max() < 5


@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_patches_are_finite(encoder: TextureEncoder, value: int) -> None:
    flat = torch.full((2, 64, 64, 3), value, dtype=torch.uint8)
    assert torch.isfinite(encoder.encode(flat)).all()


@pytest.mark.parametrize("side", [16, 32, 63, 224, 257])
def test_any_patch_size_gives_the_same_dimension(encoder: TextureEncoder, side: int) -> None:
    noise = torch.randint(0, 256, (1, side, side, 3), dtype=torch.uint8)
    features = encoder.encode(noise)
    assert features.shape == (1, encoder.info.dim) and torch.isfinite(features).all()


def test_same_patch_gives_same_numbers_whatever_is_beside_it(encoder: TextureEncoder) -> None:
    batch = patches()
    together = encoder.encode(batch)
    alone = torch.cat([encoder.encode(batch[index : index + 1]) for index in range(len(batch))])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert torch.equal(together, encoder.encode(batch))


def test_turning_a_patch_changes_its_features_little(encoder: TextureEncoder) -> None:
    batch = patches()
    turned = encoder.encode(torch.rot90(batch, 1, dims=(1, 2)))
    assert (turned - encoder.encode(batch)).abs().max() < 1e-3


def test_unmixing_recovers_the_amount_of_each_stain() -> None:
    amounts = torch.tensor([[0.6, 0.0], [0.0, 0.5], [0.4, 0.3]])
    stains = torch.tensor([HAEMATOXYLIN, EOSIN])
    stains = stains / stains.norm(dim=1, keepdim=True)
    rgb = 256 * 10 ** -(amounts @ stains) - 1
    found = optical_density(rgb) @ unmixing_matrix().T
    torch.testing.assert_close(found[:, :2], amounts, atol=2e-3, rtol=0)
    assert found[:, 2].abs().max() < 2e-3


def test_unmixing_is_exact_so_that_every_processor_cuts_at_the_same_pixels() -> None:
    density = optical_density(torch.arange(0, 1021) / 4)
    exact = -((torch.arange(0, 1021, dtype=torch.float64) / 4 + 1) / 256).log10() * 1024
    assert ((exact - exact.floor()) - 0.5).abs().min() / 1024 > 2**-22  # no level so near a tie that float32 decides
    assert torch.equal(density.double(), exact.round() / 1024)
    triples = density[torch.randint(0, 1021, (5000, 3), generator=torch.Generator().manual_seed(0))]
    single, double = triples @ unmixing_matrix().T, triples.double() @ unmixing_matrix().double().T
    assert torch.equal(single.double(), double)


def test_bin_counts_are_shares() -> None:
    counts = bin_counts(torch.tensor([[0, 0, 1, 3], [2, 2, 2, 2]]), 4)
    assert counts.tolist() == [[0.5, 0.25, 0, 0.25], [0, 0, 1, 0]]


def test_binary_patterns_of_a_flat_map_and_of_single_dots() -> None:
    flat = torch.zeros(1, 9, 9)
    assert local_binary_patterns(flat, 0.01)[0, 0] == 1
    dot = flat.clone()
    dot[0, 4, 4] = 1
    shares = local_binary_patterns(dot, 0.01)[0] * 49
    assert shares[0].round() == 41 and shares[1].round() == 8


def test_stripes_have_a_direction_and_noise_has_none() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 1, 64, 64, generator=generator)
    stripes = noise[:, :, :, :1].expand_as(noise)
    spread = oriented_energies(torch.cat([noise, stripes], dim=1))[0, -4:-2]
    assert spread[1] > 2 > 0.8 > spread[0]


def test_nuclei_are_counted() -> None:
    maps = torch.zeros(1, 64, 64)
    maps[0, 8::16, 8::16] = 1.0
    measured = nuclei(maps, torch.tensor([0.05]))
    assert measured[0, 0] * 64 * 64 / 20 == pytest.approx(16 * 9, abs=1) or measured[0, 0] * 64 * 64 / 20 == 16


def restain(patches: np.ndarray, *, haematoxylin: float, eosin: float) -> np.ndarray:
    """Return the patches as a laboratory that takes so many times as much of each stain would have made them."""
    unmix = unmixing_matrix().double()
    amounts = optical_density(torch.from_numpy(patches).double()) @ unmix.T
    density = (amounts * torch.tensor([haematoxylin, eosin, 1.0])) @ torch.linalg.inv(unmix).T
    return (256 * 10**-density - 1).clamp(0, 255).to(torch.uint8).numpy()


def test_separates_real_tissue_classes_even_when_slides_are_stained_differently(encoder: TextureEncoder) -> None:
    cv2 = pytest.importorskip("cv2")
    folder = shared_path("data/tiles/lc25000_lung")
    images, labels = [], []
    for label, kind in enumerate(("adenocarcinoma", "normal", "squamous")):
        for path in sorted((folder / kind).glob("*.jpeg"))[:90]:
            images.append(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB))
            labels.append(label)
    batch, target = np.stack(images), np.asarray(labels)
    train = np.arange(len(target)) % 2 == 0
    known = encoder.encode(torch.from_numpy(batch[train])).numpy()
    restained = restain(batch[~train], haematoxylin=1.25, eosin=0.8)
    scale = StandardScaler().fit(known)
    probe = LogisticRegression(C=0.1, max_iter=1000).fit(scale.transform(known), target[train])
    for unseen, least in ((batch[~train], 0.85), (restained, 0.8)):
        new = encoder.encode(torch.from_numpy(unseen)).numpy()
        assert probe.score(scale.transform(new), target[~train]) > least
