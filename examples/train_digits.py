#!/usr/bin/env python3
"""Train the small CNN that ships in examples/digits/, on scikit-learn's 8x8 handwritten digits.

    pip install torch scikit-learn onnx
    python examples/train_digits.py

Writes examples/digits/digits.onnx and examples/digits/test.npz (the held-out images and labels). Batch
normalisation is left unfolded, as many exporters leave it, so that the compiler has something to do.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

HERE = Path(__file__).parent / "digits"
EPOCHS = 60


class Residual(nn.Module):
    """x + conv(relu(conv(x))), with batch normalisation after each convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.body(x))


def network() -> nn.Module:
    """[N, 1, 8, 8] pixels in [0, 1] -> [N, 10] logits."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        Residual(16),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 10),
    )


def main() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.2, random_state=0, stratify=labels)
    model = network()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, EPOCHS)
    data = torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))
    for _ in range(EPOCHS):
        for batch, target in torch.utils.data.DataLoader(data, batch_size=64, shuffle=True):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(batch), target).backward()
            optimiser.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        accuracy = (model(torch.from_numpy(x_test)).argmax(1).numpy() == y_test).mean()
    HERE.mkdir(exist_ok=True)
    np.savez_compressed(HERE / "test.npz", images=x_test, labels=y_test.astype(np.int64))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            model,
            (torch.from_numpy(x_test[:1]),),
            HERE / "digits.onnx",
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
            opset_version=17,
            dynamo=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
        )
    print(f"accuracy on {len(y_test)} held-out images: {accuracy:.4f}")


if __name__ == "__main__":
    main()
