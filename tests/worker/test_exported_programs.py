"""Programs of every kind, precision and device give what they gave where they were made."""

from pathlib import Path
from typing import Any

import pytest
import torch

from euclidesdb_server.errors import ModelLoadError
from euclidesdb_server.inference.model_folder import ModelFolder, read_model_folder
from euclidesdb_server.inference.worker_process import load_message
from euclidesdb_server.worker.load_check import keeps_outputs
from euclidesdb_server.worker.loading import load_program
from tests.support.models import save_model
from tests.worker.odd_programs import Means, OneAtATime, OnlyFeatures, load, load_folder

SIZE = 32
DIMS: dict[str, Any] = {"feature_dim": 8, "prediction_dim": 5}


class Network(torch.nn.Module):
    """A network in small: what freezing folds, and what half precision rounds."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.convolution = torch.nn.Conv2d(3, 8, 3, padding=1)
            self.normalization = torch.nn.BatchNorm2d(8)
            self.normalization.running_mean.uniform_(-0.1, 0.1)
            self.normalization.running_var.uniform_(0.5, 1.5)
            self.classes = torch.nn.Linear(8, 5)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.relu(self.normalization(self.convolution(images)))
        features = hidden.mean(dim=[2, 3])
        return torch.softmax(self.classes(features), dim=1), features


def images(count=5):
    generator = torch.Generator().manual_seed(1)
    shape = (3, SIZE, SIZE)
    return [
        torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for _ in range(count)
    ]


def by_hand(module):
    """What the module makes of the images, outside of any worker."""
    with torch.inference_mode():
        output = module.eval()(torch.stack(images()).float() / 255)
    if isinstance(output, tuple):
        predictions, features = output
        return features, predictions
    return output


def answers(program):
    """Features and predictions of the images."""
    result = program.run(images())
    assert result.errors == [None] * len(images())
    return result.features, result.predictions


def save_exported(
    folder: Path, module: torch.nn.Module, *, batch: int | None = None, **conf: Any
) -> Path:
    """A model folder whose program torch.export made, its batch dimension free or `batch`."""
    target = save_model(folder, module=module, filename="program.pt2", image_size=SIZE, **conf)
    shapes = None if batch else ({0: torch.export.Dim("batch")},)
    example = torch.rand(batch or 2, 3, SIZE, SIZE)
    exported = torch.export.export(module.eval(), (example,), dynamic_shapes=shapes)
    torch.export.save(exported, target / "program.pt2")
    return target


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The network as an exported program, its TorchScript twin next to it."""
    return save_exported(tmp_path_factory.mktemp("exported"), Network(), **DIMS)


def test_an_exported_program_gives_what_its_torchscript_twin_gives(exported, tmp_path):
    twin = load(tmp_path, Network(), image_size=SIZE, **DIMS)
    torch.testing.assert_close(answers(load_folder(exported)), answers(twin), atol=1e-5, rtol=1e-4)


def test_an_exported_program_gives_what_the_module_gives(exported):
    torch.testing.assert_close(
        answers(load_folder(exported)), by_hand(Network()), atol=1e-5, rtol=1e-4
    )


def test_a_fixed_batch_dimension_of_an_exported_program_is_refused_with_advice(tmp_path):
    folder = save_exported(tmp_path, Network(), batch=1, **DIMS)
    with pytest.raises(ModelLoadError) as caught:
        load_folder(folder)
    message = str(caught.value)
    assert "takes one item but not two together (Expected input" in message
    assert "export it with a free batch dimension, or set [model] max_batch_size = 1" in message


def test_a_fixed_batch_dimension_of_an_exported_program_is_served_without_batches(tmp_path):
    folder = save_exported(tmp_path, Network(), batch=1, max_batch_size=1, **DIMS)
    program = load_folder(folder)
    features = torch.cat([program.run([image]).features for image in images()])
    torch.testing.assert_close(features, by_hand(Network())[0], atol=1e-5, rtol=1e-4)


def test_an_exported_program_may_return_features_alone(tmp_path):
    folder = save_exported(tmp_path, OnlyFeatures(), feature_dim=3, prediction_dim=0)
    features, predictions = answers(load_folder(folder))
    assert predictions.shape == (5, 0)
    torch.testing.assert_close(features, by_hand(OnlyFeatures()))


def test_a_torchscript_program_may_return_features_alone(tmp_path):
    features, predictions = answers(load(tmp_path, OnlyFeatures(), prediction_dim=0))
    assert predictions.shape == (5, 0)
    torch.testing.assert_close(features, by_hand(OnlyFeatures()))


@pytest.mark.parametrize("damage", ["junk", "cut", "torchscript"])
def test_what_torch_export_did_not_save_is_refused(tmp_path, exported, damage):
    folder = save_model(tmp_path, filename="program.pt2")
    whole = (exported / "program.pt2").read_bytes()
    (folder / "program.pt2").write_bytes(
        {
            "junk": b"junk" * 99,
            "cut": whole[: len(whole) // 2],
            "torchscript": (folder / "program.pt").read_bytes(),
        }[damage]
    )
    with pytest.raises(
        ModelLoadError, match=r"is not a program saved by torch\.export: "
    ) as caught:
        load_folder(folder)
    assert str(folder / "program.pt2") in str(caught.value)


@pytest.fixture(params=["bfloat16", "float16"])
def precision(request):
    image = torch.rand(1, 3, SIZE, SIZE, dtype=getattr(torch, request.param))
    try:
        Network().eval().to(image.dtype)(image)
    except RuntimeError as error:
        pytest.skip(f"torch has no {request.param} on this processor: {error}")
    return request.param


@pytest.mark.parametrize("kind", ["program.pt", "program.pt2"])
def test_half_precision_gives_nearly_the_same_as_float32(tmp_path, exported, precision, kind):
    folder = save_model(
        tmp_path, module=Network(), filename=kind, precision=precision, image_size=SIZE, **DIMS
    )
    if kind == "program.pt2":
        (folder / kind).write_bytes((exported / kind).read_bytes())
    got, expected = answers(load_folder(folder)), by_hand(Network())
    torch.testing.assert_close(got, expected, atol=0.01, rtol=0.03)
    assert got[0].dtype == torch.float32
    assert not torch.allclose(got[0], expected[0], atol=1e-6, rtol=1e-6), "it was not float32"


def parameters(program):
    return [*program.module.parameters()]


def test_a_torchscript_program_is_frozen_and_keeps_its_outputs(tmp_path):
    program = load(tmp_path, Network(), image_size=SIZE, **DIMS)
    assert parameters(program) == [], "its weights are constants of its graph"
    torch.testing.assert_close(answers(program), by_hand(Network()), atol=1e-5, rtol=1e-4)


def test_a_program_that_was_frozen_before_it_was_saved_is_served(tmp_path):
    folder = save_model(tmp_path, module=Network(), image_size=SIZE, **DIMS)
    frozen = torch.jit.freeze(torch.jit.load(folder / "program.pt").eval())
    frozen.save(str(folder / "program.pt"))
    torch.testing.assert_close(
        answers(load_folder(folder)), by_hand(Network()), atol=1e-5, rtol=1e-4
    )


@torch.jit.interface
class Scale(torch.nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:  # type: ignore[empty-body]
        pass


class Doubled(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * self.factor


class CannotBeFrozen(torch.nn.Module):
    """torch.jit.freeze does not support what this assigns."""

    scale: Scale

    def __init__(self) -> None:
        super().__init__()
        self.scale = Doubled()  # type: ignore[assignment]  # TorchScript takes it for a Scale
        self.other = Doubled()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.scale = self.other  # type: ignore[assignment]
        doubled = self.scale.forward(images.mean(dim=[2, 3]))
        return doubled, doubled


def test_a_program_that_cannot_be_frozen_runs_as_it_was_saved(tmp_path):
    with pytest.raises(RuntimeError, match="Freezing does not support"):
        torch.jit.freeze(torch.jit.script(CannotBeFrozen().eval()))
    program = load(tmp_path, CannotBeFrozen())
    assert len(parameters(program)) == 2
    expected = 2 * by_hand(Means())[0]
    torch.testing.assert_close(answers(program)[0], expected)


class OffByATenth(Means):
    """As Means, but as a broken optimizer would leave it."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = images.mean(dim=[2, 3])
        return means, means + 0.1


class OffInABatch(Means):
    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        means = images.mean(dim=[2, 3])
        return means, means + 0.1 * (images.shape[0] > 1)


@pytest.mark.parametrize("broken", [OffByATenth(), OffInABatch(), OneAtATime(), torch.nn.ReLU()])
def test_an_optimized_program_that_answers_otherwise_is_not_used(tmp_path, broken):
    program = load(tmp_path, Means())
    before = program.module
    assert not keeps_outputs(program, broken, batches=True)
    assert program.module is before


def test_an_optimized_program_that_answers_alike_is_used(tmp_path):
    program = load(tmp_path, Means())
    optimized = Means()
    assert keeps_outputs(program, optimized, batches=True)
    assert program.module is optimized


@pytest.mark.parametrize("device", ["cuda:99", "cuda:1000", "cuda:99999999999"])
@pytest.mark.parametrize("kind", ["program.pt", "program.pt2"])
def test_a_device_that_is_not_there_is_named(exported, device, kind):
    model = read_model_folder(exported)
    assert isinstance(model, ModelFolder)
    message = load_message(model, device=device, threads=1, max_image_pixels=10**6)
    message["program"] = str(exported / kind)
    with pytest.raises(ModelLoadError, match=rf"^devices: {device} does not exist: torch finds"):
        load_program(message)
