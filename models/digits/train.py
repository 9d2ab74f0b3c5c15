"""Trains the shipped digits model and writes it as TorchScript.

The program takes float32 (n, 1, 8, 8) in [0, 1] and returns `(predictions, features)`: softmax
probabilities (n, 10) and unit vectors (n, 64). It is trained only on the 1,500 digits that
`split_digits` returns as `added`; the 297 held-out digits only measure it.

The result does not depend on the machine: training runs in float64 on one thread, so differences
between CPUs in the last bits stay negligible. Made with and without AVX, the files were identical;
outputs within 1e-4 are promised.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from euclidesdb_server.demo.digits import Digit, decode_png, split_digits

FEATURE_DIM = 64
CLASSES = 10
EPOCHS = 12
BATCH = 50
LEARNING_RATE = 3e-3


class DigitsNetwork(nn.Module):
    """Three small convolutions, a unit-length feature vector, a cosine classifier.

    Features lie on the unit sphere and only angles separate the classes, so the classifier and a
    Euclidean search use the same geometry. A plain linear classifier would also use the length of
    the features, which expresses confidence instead of similarity.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 2 * 2, FEATURE_DIM),
        )
        self.directions = nn.Parameter(torch.rand(CLASSES, FEATURE_DIM) - 0.5)
        # Cosines are in [-1, 1]; without scaling, their softmax could not be confident.
        self.scale = 16.0

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions (n, 10) and features (n, 64) of images (n, 1, 8, 8)."""
        features = functional.normalize(self.body(images), dim=1)
        cosines = functional.linear(features, functional.normalize(self.directions, dim=1))
        return torch.softmax(self.scale * cosines, dim=1), features


def as_images(digits: Sequence[Digit]) -> Tensor:
    """The digits as the server decodes their PNGs: float32 (n, 1, 8, 8) in [0, 1]."""
    pixels = np.stack([decode_png(digit.png) for digit in digits])
    return torch.from_numpy(pixels).unsqueeze(1).float() / 255


def as_labels(digits: Sequence[Digit]) -> Tensor:
    """The digits' classes: int64 (n,)."""
    return torch.tensor([digit.label for digit in digits])


def train(digits: Sequence[Digit]) -> DigitsNetwork:
    """A network trained on `digits`; changes torch's seed and thread count."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    images, labels = as_images(digits).double(), as_labels(digits)
    network = DigitsNetwork().double()
    for layer in network.body:
        # Drawn again in float64: float32 draws differ in their last bit between CPUs.
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    steps = EPOCHS * -(-len(digits) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.split(torch.randperm(len(digits)), BATCH):
            predictions, _ = network(images[batch])
            loss = functional.nll_loss(predictions.log(), labels[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    return network.float().eval()


@torch.inference_mode()
def measure(
    program: nn.Module, added: Sequence[Digit], held_out: Sequence[Digit]
) -> tuple[float, float]:
    """Precision@5 and accuracy on `held_out`.

    Precision@5: the share of the query's class among its 5 nearest neighbors in `added`, by the
    Euclidean distance between features, averaged over the queries.
    """
    _, added_features = program(as_images(added))
    predictions, features = program(as_images(held_out))
    labels = as_labels(held_out)
    nearest = torch.cdist(features, added_features).topk(5, largest=False).indices
    same_class = as_labels(added)[nearest] == labels.unsqueeze(1)
    accuracy = (predictions.argmax(dim=1) == labels).float().mean()
    return float(same_class.float().mean()), float(accuracy)


def write_program(network: DigitsNetwork, path: Path) -> None:
    """Save as TorchScript that depends only on the weights, so that its fingerprint does, too.

    The records with this machine's source paths, and the id hashed from them, are left out. The
    network is traced, as scripting lists the modules' constants in a different order every time.
    """
    buffer = io.BytesIO()
    program = torch.jit.trace(network, torch.zeros(2, 1, 8, 8))  # type: ignore[no-untyped-call]
    torch.jit.save(program, buffer)
    with zipfile.ZipFile(buffer) as saved, zipfile.ZipFile(path, "w") as written:
        for entry in saved.infolist():
            if not entry.filename.endswith((".debug_pkl", "/serialization_id")):
                # A new ZipInfo has a fixed date, so equal programs give equal files.
                written.writestr(zipfile.ZipInfo(entry.filename), saved.read(entry))


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, write digits.pt and print its measurements."""
    parser = argparse.ArgumentParser(description="Train the digits model and write digits.pt.")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent,
        metavar="FOLDER",
        help="the folder for digits.pt (default: that of this script)",
    )
    options = parser.parse_args(arguments)
    split = split_digits()
    network = train(split.added)
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "digits.pt"
    write_program(network, path)
    precision, accuracy = measure(network, split.added, split.held_out)
    print(f"{path}: {path.stat().st_size:,} bytes")
    print(f"held out: precision@5 {precision:.4f}, accuracy {accuracy:.4f}")


if __name__ == "__main__":
    main()
