import keras_tuner
from keras_tuner.oracles import RandomSearchOracle

from fer_hierarchy.tuning.search.oracles import mend


def test_mending_redoes_no_ended_trial_and_forgets_unbegun_ones(tmp_path):
    space = keras_tuner.HyperParameters()
    space.Float("rate", 0.0, 1.0)
    oracle = RandomSearchOracle(
        objective=keras_tuner.Objective("score", "max"), max_trials=4, hyperparameters=space, seed=1
    )
    oracle.verbose = 0
    oracle._set_project_dir(str(tmp_path), "oracle")
    trials = [oracle.create_trial(name) for name in ("a", "b", "c")]
    oracle.update_trial("1", {"score": 0.5})
    oracle.end_order.append("0")
    oracle.start_order.remove("2")
    oracle._retry_queue = ["0", "1", "1"]
    oracle.ongoing_trials = {"a": trials[0]}
    mend(oracle)
    assert oracle._retry_queue == ["1"]
    assert not oracle.ongoing_trials
    assert list(oracle.trials) == ["0", "1"]
    assert not oracle.trials["1"].metrics.exists("score")
