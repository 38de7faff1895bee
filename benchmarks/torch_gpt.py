"""A plain PyTorch GPT-2 and its training step, the peer of `speed.py`: shapes, parameters and arithmetic of `family: gpt2`.

Shape suffixes as in `scaling/models`: B batch, L sequence, D width, H heads, K head width, V vocabulary.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class Block(nn.Module):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x_BxLxD: torch.Tensor) -> torch.Tensor:
        batch, length, width = x_BxLxD.shape
        qkv = self.qkv(self.attention_norm(x_BxLxD)).view(batch, length, 3, self.heads, width // self.heads)
        q_BxHxLxK, k_BxHxLxK, v_BxHxLxK = qkv.permute(2, 0, 3, 1, 4)
        mixed_BxHxLxK = F.scaled_dot_product_attention(q_BxHxLxK, k_BxHxLxK, v_BxHxLxK, is_causal=True)
        x_BxLxD = x_BxLxD + self.output(mixed_BxHxLxK.transpose(1, 2).reshape(batch, length, width))
        return x_BxLxD + self.down(F.gelu(self.up(self.mlp_norm(x_BxLxD)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, width: int, layers: int, heads: int, vocabulary: int, length: int):
        super().__init__()
        self.embedding, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens_BxL: torch.Tensor, targets_BxL: torch.Tensor) -> torch.Tensor:
        """Mean cross entropy, nats per token; the head is the embedding."""
        x_BxLxD = self.embedding(tokens_BxL) + self.positions.weight[: tokens_BxL.shape[1]]
        for block in self.blocks:
            x_BxLxD = block(x_BxLxD)
        logits_BxLxV = F.linear(self.norm(x_BxLxD), self.embedding.weight)
        return F.cross_entropy(logits_BxLxV.flatten(0, 1).float(), targets_BxL.flatten())


def make_step(shape: dict[str, int], bfloat16: bool, compiled: bool) -> tuple[Callable[[np.ndarray], float], int]:
    """One training step, tokens int64 [B, L + 1] -> loss, as AdamW after clipping the gradient; and the number of parameters.

    bfloat16 is torch's autocast over float32 parameters, its usual way.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = GPT(shape["width"], shape["layers"], shape["heads"], shape["vocabulary"], shape["length"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    forward = torch.compile(model) if compiled else model

    def step(tokens_BxL1: np.ndarray) -> float:
        tokens = torch.from_numpy(tokens_BxL1)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = forward(tokens[:, :-1], tokens[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step, sum(parameter.numel() for parameter in model.parameters())
