"""Settings that PyTorch stages do not support; imports neither framework."""

from fer_hierarchy.hierarchy.config import StageConfig, fields_of
from fer_hierarchy.hierarchy.errors import UserError
from fer_hierarchy.hierarchy.paths import CALL
from fer_hierarchy.models.settings import MIXED_FLOAT16

LOSSES = ("ce", "weighted", "focal")
# Settings that must keep their defaults, and those that mean nothing without one of them or a loss that is left out.
KERAS_ONLY = ("weights", "freeze", "ema", "mixup", "cutmix")
IDLE = ("thaw_rate", "center_weight", "island_weight", "center_rate")
_ELSEWHERE = f"train with {CALL}"


def refuse_unsupported(config: StageConfig) -> None:
    """Refuse a setting that only Keras stages follow.

    Raises:
        UserError: With what PyTorch can do.
    """
    if config.loss not in LOSSES:
        raise UserError(f"--loss {config.loss}: PyTorch trains with {', '.join(LOSSES)}; or {_ELSEWHERE}")
    if config.precision == MIXED_FLOAT16:
        raise UserError(f"--precision {MIXED_FLOAT16}: PyTorch trains in float32 or mixed_bfloat16; or {_ELSEWHERE}")
    fields = fields_of(StageConfig)
    for name in KERAS_ONLY:
        value, default = getattr(config, name), fields[name].default
        if value != default:
            others = ", ".join(f"--{other}" for other in KERAS_ONLY)
            raise UserError(
                f"--{name} {value}: PyTorch trains without {others}; leave it at {default}, or {_ELSEWHERE}"
            )
