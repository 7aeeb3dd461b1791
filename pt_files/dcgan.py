"""DCGAN with spectral normalisation: generator, discriminator, the augmentation between them, and their training.

Radford et al., "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks", ICLR
2016; Miyato et al., "Spectral Normalization for Generative Adversarial Networks", ICLR 2018; Zhao et al.,
"Differentiable Augmentation for Data-Efficient GAN Training", NeurIPS 2020.
"""

import copy
import math
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that PyTorch users expect
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim.swa_utils import update_bn

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.pt_files.gan_config import SIDE_STEP
from fer_hierarchy.pt_files.model_file import write_record

LATENT = 100  # length of the noise that becomes a face; Radford et al.'s
_INITIAL_DEVIATION = 0.02  # of all convolution weights; Radford et al.'s
# Largest change of brightness (of 2, the full range) and of contrast, as a fraction. Zhao et al. take 0.5: from a few
# hundred grey faces the generator then acquired a contrast that no photograph has.
_RELIT = 0.1
_SHIFT = 0.125  # largest move of an image, as a fraction of its side; Zhao et al.'s
# Adam's settings for this pair of losses: Miyato et al. (2018), section 4, setting C.
_BETAS = (0.5, 0.999)
_RATE = 2e-4
_DISCRIMINATOR_RATE = 4e-4  # it has to stay ahead: two time scales, Heusel et al., NeurIPS 2017
_AVERAGE = 0.998  # share of the averaged generator that a step keeps
_STATISTICS = 32  # batches of 64 that the averaged generator's batch statistics are taken from


class Generator(nn.Module):
    """Noise to faces: a small map, doubled four times by transposed convolutions with batch normalisation and ReLU.

    Args:
        size: Side of the faces in pixels, a multiple of 16.
        channels: 1 (grey) or 3 (RGB).
        width: Maps before the last layer; each earlier layer has twice as many.
    """

    def __init__(self, *, size: int, channels: int, width: int) -> None:
        super().__init__()
        self.side, self.deepest = size // SIDE_STEP, width * 8  # four doublings lie between the first map and the image
        self.project = nn.Linear(LATENT, self.deepest * self.side**2, bias=False)
        self.norm = nn.BatchNorm2d(self.deepest)
        widths = (self.deepest, width * 4, width * 2, width)
        self.doublings = nn.Sequential(*(_doubling(a, b) for a, b in pairwise(widths)))
        self.paint = nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1)
        _initialise(self)

    def forward(self, noise: Tensor) -> Tensor:
        """Faces (n, channels, size, size) in [-1, 1] of noise (n, LATENT), both float32."""
        x = self.project(noise).view(-1, self.deepest, self.side, self.side)
        x = self.doublings(F.relu(self.norm(x)))
        return torch.tanh(self.paint(x))


def _doubling(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Discriminator(nn.Module):
    """Faces to one score, high for real ones: strided convolutions, spectral normalisation, no batch statistics.

    Args:
        size: Side of the faces in pixels, a multiple of 16.
        channels: 1 (grey) or 3 (RGB).
        width: Maps of the first layer; each later one has twice as many.
    """

    def __init__(self, *, size: int, channels: int, width: int) -> None:
        super().__init__()
        widths = (channels, width, width * 2, width * 4, width * 8)
        layers = [nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths)]
        self.halvings = nn.ModuleList(layers)
        self.score = nn.Linear(width * 8 * (size // SIDE_STEP) ** 2, 1)
        _initialise(self)
        for layer in (*layers, self.score):
            spectral_norm(layer)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (n,) of faces (n, channels, size, size) in [-1, 1], both float32."""
        for layer in self.halvings:
            images = F.leaky_relu(layer(images), 0.2)
        return self.score(images.flatten(1))[:, 0]


def _initialise(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(layer.weight, std=_INITIAL_DEVIATION)


def augmented(images: Tensor, random: torch.Generator) -> Tensor:
    """Random variants that gradients pass through: brightness, contrast, shift and mirror.

    The discriminator gets real and generated faces through it alike, so that few real faces last for long and the
    generator still draws them as they are (Zhao et al., 2020).

    Args:
        images: (n, channels, size, size) float32 in [-1, 1].
        random: Source of all randomness.
    """
    count, size = len(images), images.shape[-1]
    draws = torch.rand((5, count, 1, 1, 1), generator=random).to(images.device)
    images = images + _RELIT * (2 * draws[0] - 1)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    images = (images - mean) * (1 + _RELIT * (2 * draws[1] - 1)) + mean
    images = torch.where(draws[2] < 0.5, images, images.flip(3))
    reach = round(_SHIFT * size)
    moves = (draws[3:, :, 0, 0, 0] * (2 * reach + 1)).long()  # (2, n) pixels from 0 to 2 * reach
    steps = torch.arange(size, device=images.device)
    rows = (moves[0, :, None] + steps)[:, None, :, None]
    columns = (moves[1, :, None] + steps)[:, None, None, :]
    padded = F.pad(images, (reach,) * 4)
    return padded[torch.arange(count)[:, None, None, None], torch.arange(images.shape[1])[:, None, None], rows, columns]


class Adversaries:
    """What training changes: both networks, their optimisers, the averaged generator, and the random numbers.

    Args:
        size: Side of the faces in pixels, a multiple of 16.
        channels: 1 (grey) or 3 (RGB).
        width: Maps of the widest layer of each network.
        seed: Decides first weights, order, noise and augmentation.
    """

    def __init__(self, *, size: int, channels: int, width: int, seed: int) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.random = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator = Generator(size=size, channels=channels, width=width).to(self.device)
            self.discriminator = Discriminator(size=size, channels=channels, width=width).to(self.device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.optimize_generator = torch.optim.Adam(self.generator.parameters(), _RATE, _BETAS)
        self.optimize_discriminator = torch.optim.Adam(self.discriminator.parameters(), _DISCRIMINATOR_RATE, _BETAS)
        self.steps = 0

    def epoch(self, faces: Tensor, batch_size: int) -> tuple[float, float]:
        """Pass over `faces` (n, channels, size, size) once; a last batch that is not full is left out.

        Returns:
            Mean losses of discriminator and generator.

        Raises:
            UserError: A loss is no number any more.
        """
        order = torch.randperm(len(faces), generator=self.random)
        batches = order[: len(faces) // batch_size * batch_size].view(-1, batch_size)
        losses = torch.stack([self._step(faces[batch].to(self.device)) for batch in batches]).mean(dim=0).tolist()
        if not all(map(math.isfinite, losses)):
            raise UserError("the loss became NaN; try another --seed or a larger --batch-size")
        return losses[0], losses[1]

    def _step(self, real: Tensor) -> Tensor:
        """One step of each network on the hinge losses of Miyato et al. (2018), equations 16 and 17."""
        fake = self.generator(torch.randn((len(real), LATENT), generator=self.random).to(self.device))
        scores = self.discriminator(augmented(torch.cat([real, fake.detach()]), self.random))
        loss = F.relu(1 - scores[: len(real)]).mean() + F.relu(1 + scores[len(real) :]).mean()
        self.optimize_discriminator.zero_grad()
        loss.backward()
        self.optimize_discriminator.step()
        generator_loss = -self.discriminator(augmented(fake, self.random)).mean()
        self.optimize_generator.zero_grad()
        generator_loss.backward()
        self.optimize_generator.step()
        self.steps += 1
        self._follow()
        return torch.stack([loss.detach(), generator_loss.detach()])

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged generator towards the trained one; quickly at first, when that is far from its start."""
        keep = min(_AVERAGE, (1 + self.steps) / (10 + self.steps))
        for mean, weight in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(weight, 1 - keep)

    def _parts(self) -> dict[str, Any]:
        names = ("generator", "discriminator", "average", "optimize_generator", "optimize_discriminator")
        return {name: getattr(self, name) for name in names}

    def save(self, path: Path, **facts: int) -> None:
        """Write all of it to `path` at once, with whole numbers to find there again."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        write_record({**state, "random": self.random.get_state(), "steps": self.steps, **facts}, path)

    def load(self, path: Path) -> dict[str, int]:
        """Go on from what `save` wrote.

        Returns:
            The facts that were saved.

        Raises:
            UserError: The file is missing, damaged or of other networks.
        """
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            for name, part in self._parts().items():
                part.load_state_dict(state.pop(name))
            self.random.set_state(state.pop("random"))
            self.steps = state.pop("steps")
        except Exception as error:  # a damaged file makes torch raise almost any kind
            raise UserError(f"checkpoint {path} is missing or damaged; delete {path.parent} and start anew") from error
        return state

    @torch.no_grad()
    def draw(self, count: int, *, seed: int) -> np.ndarray:
        """Faces of the averaged generator, (count, size, size, channels) uint8; the training goes on as if without.

        Args:
            count: How many.
            seed: Decides which; the first faces do not depend on how many follow.
        """
        random = torch.Generator().manual_seed(seed)
        generator = copy.deepcopy(self.average).train()
        # Averaged weights need batch statistics of their own: those of the trained weights do not fit them.
        update_bn(_noises(64 * _STATISTICS, random), generator, device=self.device)
        generator.eval()
        return np.concatenate([_as_pixels(generator(noise.to(self.device))) for noise in _noises(count, random)])


def _noises(count: int, random: torch.Generator) -> Iterator[Tensor]:
    for start in range(0, count, 64):
        yield torch.randn((64, LATENT), generator=random)[: count - start]


def _as_pixels(images: Tensor) -> np.ndarray:
    scaled = ((images + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8)
    return scaled.permute(0, 2, 3, 1).numpy()


def as_faces(pixels: np.ndarray) -> Tensor:
    """(n, channels, size, size) float32 in [-1, 1] of (n, size, size, channels) uint8."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float() / 127.5 - 1
