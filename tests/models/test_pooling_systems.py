"""Systems without a scan equal their papers' equations, patch by patch, float64: outputs and gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.models.equations import Parameters, gelu, layer_norm, linear, project
from tests.models.test_equations import assert_equal, bag_of, small
from wsi2dmamba.models.base import Bag


def softmax(scores: Tensor) -> Tensor:
    return torch.exp(scores) / torch.exp(scores).sum()


def gated_scores(P: Parameters, name: str, tokens: Tensor) -> Tensor:
    hidden = torch.tanh(linear(P, f"{name}.value", tokens)) * torch.sigmoid(linear(P, f"{name}.gate", tokens))
    return linear(P, f"{name}.score", hidden)


def abmil(P: Parameters, bag: Bag) -> Tensor:
    tokens = project(P, bag)
    weights = softmax(gated_scores(P, "head.attention", tokens)[:, 0])
    return linear(P, "head.classifier", sum(w * t for w, t in zip(weights, tokens, strict=True)))


def mean(P: Parameters, bag: Bag) -> Tensor:
    return linear(P, "classifier", sum(project(P, bag)) / len(bag))


def maximum(P: Parameters, bag: Bag) -> Tensor:
    return linear(P, "head.classifier", project(P, bag).amax(0))


def clam_sb(P: Parameters, bag: Bag) -> Tensor:
    tokens = torch.relu(linear(P, "project.0", bag.features))
    weights = softmax(gated_scores(P, "attention", tokens)[:, 0])
    return linear(P, "classifier", (weights[:, None] * tokens).sum(0))


def clam_mb(P: Parameters, bag: Bag) -> Tensor:
    tokens = torch.relu(linear(P, "project.0", bag.features))
    scores = gated_scores(P, "attention", tokens)
    pooled = [(softmax(scores[:, m])[:, None] * tokens).sum(0) for m in range(3)]
    return torch.stack([pooled[m] @ P["heads.weight"][m] + P["heads.bias"][m] for m in range(3)])


def dsmil(P: Parameters, bag: Bag) -> Tensor:
    tokens = project(P, bag)
    scores = linear(P, "patch_classifier", tokens)
    queries = linear(P, "query", tokens)
    values = linear(P, "value", tokens)
    bags = []
    for c in range(3):
        critical = queries[scores[:, c].argmax()]
        bags.append((softmax(queries @ critical / math.sqrt(len(critical)))[:, None] * values).sum(0))
    second = torch.stack(
        [
            sum((P["bag_classifier.weight"][c, d] * bags[d]).sum() for d in range(3)) + P["bag_classifier.bias"][c]
            for c in range(3)
        ]
    )
    return (scores.amax(0) + second) / 2


def nystrom(P: Parameters, name: str, x: Tensor, heads: int, marks: int) -> Tensor:
    n, dim = x.shape
    width = dim // heads
    q, k, v = (x @ P[f"{name}.qkv.weight"].T).split(dim, -1)
    missing = -n % marks if n > marks else 0
    outputs = []
    for h in range(heads):
        q_h, k_h, v_h = (t[:, h * width : (h + 1) * width] for t in (q / math.sqrt(width), k, v))
        if n <= marks:
            mixed = torch.stack([softmax(row @ k_h.T) @ v_h for row in q_h])
        else:
            front = torch.zeros(missing, width, dtype=x.dtype)
            q_f, k_f, v_f = (torch.cat([front, t]) for t in (q_h, k_h, v_h))
            size = len(q_f) // marks
            q_m, k_m = (torch.stack([t[s * size : (s + 1) * size].mean(0) for s in range(marks)]) for t in (q_f, k_f))
            among = torch.stack([softmax(row @ k_m.T) for row in q_m])
            left = torch.stack([softmax(row @ k_m.T) for row in q_f]) @ inverse_of(P, name, among, q, k, heads, marks)
            mixed = (left @ torch.stack([softmax(row @ k_f.T) for row in q_m]) @ v_f)[missing:]
        kernel = P[f"{name}.conv.weight"][h, 0, :, 0]
        half = len(kernel) // 2
        shifted = [
            sum(kernel[half + o] * v_h[t + o] for o in range(-half, half + 1) if 0 <= t + o < n) for t in range(n)
        ]
        outputs.append(mixed + torch.stack(shifted))
    return linear(P, f"{name}.out", torch.cat(outputs, -1))


def inverse_of(P: Parameters, name: str, among: Tensor, q: Tensor, k: Tensor, heads: int, marks: int) -> Tensor:
    # The iteration starts from the transpose over the largest row and column sums of all heads; rows sum to one.
    columns = []
    width = q.shape[1] // heads
    for h in range(heads):
        q_h, k_h = q[:, h * width : (h + 1) * width] / math.sqrt(width), k[:, h * width : (h + 1) * width]
        front = torch.zeros(-len(q) % marks, width, dtype=q.dtype)
        q_f, k_f = torch.cat([front, q_h]), torch.cat([front, k_h])
        size = len(q_f) // marks
        q_m, k_m = (torch.stack([t[s * size : (s + 1) * size].mean(0) for s in range(marks)]) for t in (q_f, k_f))
        columns.append(torch.stack([softmax(row @ k_m.T) for row in q_m]).sum(0).amax())
    z = among.T / max(columns)
    eye = torch.eye(marks, dtype=q.dtype)
    for _ in range(6):
        z = z @ (13 * eye - among @ z @ (15 * eye - among @ z @ (7 * eye - among @ z))) / 4
    return z


def transmil(P: Parameters, bag: Bag) -> Tensor:
    tokens = gelu(linear(P, "project.0", bag.features))
    order = sorted(range(len(bag)), key=lambda k: tuple(bag.grid[k].tolist()))
    listed = [tokens[k] for k in order]
    side = math.ceil(math.sqrt(len(listed)))
    listed += listed[: side * side - len(listed)]
    x = torch.stack([P["class_token"], *listed])
    x = x + nystrom(P, "attentions.0", layer_norm(P, "norms.0", x), 2, 4)
    square = x[1:].reshape(side, side, -1)
    placed = []
    for i in range(side):
        for j in range(side):
            total = square[i, j]
            for index, size in enumerate((7, 5, 3)):
                total = total + P[f"positions.{index}.bias"]
                for p in range(size):
                    for r in range(size):
                        a, b = i + p - size // 2, j + r - size // 2
                        if 0 <= a < side and 0 <= b < side:
                            total = total + P[f"positions.{index}.weight"][:, 0, p, r] * square[a, b]
            placed.append(total)
    x = torch.stack([x[0], *placed])
    x = x + nystrom(P, "attentions.1", layer_norm(P, "norms.1", x), 2, 4)
    return linear(P, "classifier", layer_norm(P, "norm", x[0]))


SYSTEMS = {
    "abmil": (abmil, {"attention_dim": 5}),
    "mean": (mean, {}),
    "max": (maximum, {}),
    "clam-sb": (clam_sb, {"attention_dim": 5, "instance_weight": 0}),
    "clam-mb": (clam_mb, {"attention_dim": 5, "instance_weight": 0}),
    "dsmil": (dsmil, {"query_dim": 4}),
    "transmil": (transmil, {"heads": 2, "landmarks": 4}),
}


@pytest.mark.parametrize("size", [(5, 3), (1, 2), (4, 5)], ids=lambda s: f"{s[0]}x{s[1]}")
@pytest.mark.parametrize("name", SYSTEMS)
def test_system_is_its_equations(name, size):
    rendering, options = SYSTEMS[name]
    model, bag = small(name, plain=True, **options), bag_of(size)
    assert_equal(model, bag, rendering(dict(model.named_parameters()), bag))


@pytest.mark.parametrize("name", ["clam-sb", "clam-mb"])
def test_clam_teaches_the_instances_of_the_true_class(name):
    model, bag = small(name, plain=True, attention_dim=5, instances=2, dropout=0.0).train(), bag_of((5, 3))
    model.training_label = 1
    P = dict(model.named_parameters())
    tokens = torch.relu(linear(P, "project.0", bag.features))
    scores = gated_scores(P, "attention", tokens)
    losses = []
    for c in range(3):
        ranked = sorted(range(len(bag)), key=lambda k, c=c: float(scores.detach()[k, c if name == "clam-mb" else 0]))
        examples = [(k, 1 if c == 1 else 0) for k in ranked[-2:]] + ([(k, 0) for k in ranked[:2]] if c == 1 else [])
        terms = [-torch.log(softmax(linear(P, f"instance_classifiers.{c}", tokens[k]))[y]) for k, y in examples]
        losses.append(sum(terms) / len(terms))
    torch.testing.assert_close(model(bag).auxiliary_loss, 0.43 * sum(losses) / 3)
    assert model.eval()(bag).auxiliary_loss is None
    model.train().training_label = None
    assert model(bag).auxiliary_loss is None
