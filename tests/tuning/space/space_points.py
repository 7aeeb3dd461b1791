"""Points of a search's space, as a search would draw them, for the tests of spaces."""

from fer_hierarchy.hierarchy.config import RunConfig
from fer_hierarchy.models import registry
from fer_hierarchy.models.spec import checked_keywords, parse_spec
from fer_hierarchy.tuning.space.spaces import declare


def points(space, count=8):
    """Random values of a space, drawn as KerasTuner's oracles draw them, and its two corners."""
    hyperparameters = declare(space).space
    for number in range(count):
        yield {hp.name: hp.random_sample(1000 * number + index) for index, hp in enumerate(hyperparameters)}
    yield {hp.name: hp.prob_to_value(0.0) for hp in hyperparameters}
    yield {hp.name: hp.prob_to_value(1.0) for hp in hyperparameters}


def accepted(settings):
    """Whether a run, and the model's builder, take a trial's settings."""
    RunConfig(stage=settings)
    name, keywords = parse_spec(settings.model)
    checked_keywords(name, registry.builder(name), keywords)
    return True
