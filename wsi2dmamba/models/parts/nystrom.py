"""Nyström attention: softmax attention through landmarks (Xiong et al., AAAI 2021, arXiv 2102.03902)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NystromAttention(nn.Module):
    """Multi-head attention with softmax(QKᵀ) ≈ softmax(Q·K̃ᵀ)·Z·softmax(Q̃·Kᵀ), Z a pseudo-inverse (eq. 13 and 14).

    The landmarks Q̃ and K̃ are means of consecutive segments; a convolution of the values along the sequence is added.

    Parameters
    ----------
    dim
        Width of the tokens.
    heads
        Number of heads.
    landmarks
        Number of landmarks; with fewer tokens than that, attention is exact.
    iterations
        Steps of the iterative pseudo-inverse.
    kernel
        Odd size of the convolution of the values.
    """

    def __init__(self, dim: int, heads: int, landmarks: int, iterations: int = 6, kernel: int = 33) -> None:
        super().__init__()
        self.heads, self.landmarks, self.iterations = heads, landmarks, iterations
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim)
        self.conv = nn.Conv2d(heads, heads, (kernel, 1), padding=(kernel // 2, 0), groups=heads, bias=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Attend among (n, dim) tokens.

        Returns
        -------
        Tensor, Tensor
            (n, dim) outputs, and (n,) the attention of the first token to all, mean over heads.
        """
        n, dim = tokens.shape
        q, k, v = self.qkv(tokens).view(n, 3, self.heads, dim // self.heads).permute(1, 2, 0, 3)
        q = q * (dim // self.heads) ** -0.5
        mixed, first = self._exact(q, k, v) if n <= self.landmarks else self._through_landmarks(q, k, v)
        mixed = mixed + self.conv(v.unsqueeze(0)).squeeze(0)
        return self.out(mixed.transpose(0, 1).reshape(n, dim)), first.mean(dim=0)

    def _exact(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        weights = torch.softmax(q @ k.mT, dim=-1)
        return weights @ v, weights[:, 0]

    def _through_landmarks(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        n = q.shape[1]
        # Zeros in front fill the last segment, as in the authors' code, so that a class token ends the first one.
        missing = -n % self.landmarks
        q, k, v = (nn.functional.pad(t, (0, 0, missing, 0)) for t in (q, k, v))
        q_marks, k_marks = (t.unflatten(1, (self.landmarks, -1)).mean(dim=2) for t in (q, k))
        to_marks = torch.softmax(q[:, missing:] @ k_marks.mT, dim=-1)
        among = torch.softmax(q_marks @ k_marks.mT, dim=-1)
        from_marks = torch.softmax(q_marks @ k.mT, dim=-1)
        left = to_marks @ pseudo_inverse(among, self.iterations)
        return left @ (from_marks @ v), (left[:, :1] @ from_marks)[:, 0, missing:]


def pseudo_inverse(matrix: Tensor, iterations: int) -> Tensor:
    """Return the Moore–Penrose inverse of (…, m, m) softmax matrices by the cubic iteration of eq. 11."""
    absolute = matrix.abs()
    scale = absolute.sum(dim=-1).amax() * absolute.sum(dim=-2).amax()
    inverse = matrix.mT / scale
    identity = torch.eye(matrix.shape[-1], device=matrix.device, dtype=matrix.dtype)
    for _ in range(iterations):
        product = matrix @ inverse
        inverse = 0.25 * inverse @ (13 * identity - product @ (15 * identity - product @ (7 * identity - product)))
    return inverse
