"""Adversarial training on the faces of one emotion: steps, checkpoints, and the faces that come out in the end."""

import copy
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name that every PyTorch reader knows
from torch import Tensor

from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import atomic_write
from fer_hierarchy.pt_files.dcgan import LATENT, Discriminator, Generator, augmented

# Adam's settings for this pair of losses: Miyato et al. (2018), section 4, setting C.
_BETAS = (0.5, 0.999)
_RATE = 2e-4
_DISCRIMINATOR_RATE = 4e-4  # it has to stay ahead: two time scales, Heusel et al., NeurIPS 2017
_AVERAGE = 0.998  # share of the averaged generator that a step keeps
_STATISTICS = 32  # batches of 64 that the averaged generator's batch statistics are taken from


class Adversaries:
    """Everything that training changes: both networks, their optimisers, the averaged generator, and the dice.

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
        self.optimizers = (
            torch.optim.Adam(self.generator.parameters(), _RATE, _BETAS),
            torch.optim.Adam(self.discriminator.parameters(), _DISCRIMINATOR_RATE, _BETAS),
        )
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
        optimize_generator, optimize_discriminator = self.optimizers
        fake = self.generator(self.noise(len(real)))
        told = self.discriminator(augmented(torch.cat([real, fake.detach()]), self.random))
        loss = F.relu(1 - told[: len(real)]).mean() + F.relu(1 + told[len(real) :]).mean()
        optimize_discriminator.zero_grad()
        loss.backward()
        optimize_discriminator.step()
        deceived = -self.discriminator(augmented(fake, self.random)).mean()
        optimize_generator.zero_grad()
        deceived.backward()
        optimize_generator.step()
        self.steps += 1
        self._follow()
        return torch.stack([loss.detach(), deceived.detach()])

    def noise(self, count: int) -> Tensor:
        """Normal noise (count, LATENT) float32."""
        return torch.randn((count, LATENT), generator=self.random).to(self.device)

    @torch.no_grad()
    def _follow(self) -> None:
        """Move the averaged generator towards the trained one; quickly at first, when that is far from its start."""
        keep = min(_AVERAGE, (1 + self.steps) / (10 + self.steps))
        for mean, weight in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(weight, 1 - keep)

    def _parts(self) -> dict[str, Any]:
        names = ("generator", "discriminator", "average", "optimize_generator", "optimize_discriminator")
        return dict(zip(names, (self.generator, self.discriminator, self.average, *self.optimizers), strict=True))

    def save(self, path: Path, **facts: int) -> None:
        """Write all of it to `path`, whole or not at all, with whole numbers to find there again."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        content = io.BytesIO()  # torch would report a full disk as an error of its own
        torch.save({**state, "random": self.random.get_state(), "steps": self.steps, **facts}, content)
        with atomic_write(path) as temporary:
            temporary.write_bytes(content.getvalue())

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
        artist = copy.deepcopy(self.average)
        _measure_statistics(artist, random, self.device)
        return np.concatenate([_as_pixels(artist(noise.to(self.device))) for noise in _noises(count, random)])


def _noises(count: int, random: torch.Generator) -> Iterator[Tensor]:
    for start in range(0, count, 64):
        yield torch.randn((64, LATENT), generator=random)[: count - start]


def _measure_statistics(generator: Generator, random: torch.Generator, device: torch.device) -> None:
    """Give averaged weights batch statistics of their own: those of the trained weights do not fit them."""
    for layer in generator.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.reset_running_stats()
            layer.momentum = None  # a plain mean over all batches
    generator.train()
    for noise in _noises(64 * _STATISTICS, random):
        generator(noise.to(device))
    generator.eval()


def _as_pixels(images: Tensor) -> np.ndarray:
    scaled = ((images + 1) * 127.5).round().clamp(0, 255).to("cpu", torch.uint8)
    return scaled.permute(0, 2, 3, 1).numpy()


def as_faces(pixels: np.ndarray) -> Tensor:
    """(n, channels, size, size) float32 in [-1, 1] of (n, size, size, channels) uint8."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float() / 127.5 - 1
