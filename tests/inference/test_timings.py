import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from fer_hierarchy.inference.predict import Outputs, predict_files
from fer_hierarchy.inference.predictor import Predictor
from fer_hierarchy.inference.settings import FaceConfig, PredictConfig
from fer_hierarchy.inference.sources.inputs import Item
from fer_hierarchy.inference.timings import Timings, time_line
from tests.inference.stand_ins import BarModel, FixedDetector

CLOCK = [0.0]  # seconds, moved by the two below alone


class SlowDetector(FixedDetector):
    def find(self, pictures):
        CLOCK[0] += 0.3
        return super().find(pictures)


class SlowModel(BarModel):
    def emotions(self, faces):
        CLOCK[0] += 0.2
        return super().emotions(faces)


def test_the_last_lines_tell_where_the_time_went(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(time, "perf_counter", lambda: CLOCK[0])
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "a.png")
    predictor = Predictor(SlowModel(), faces=FaceConfig(), detector=SlowDetector((0, 0, 40, 40)))
    items = [Item(str(tmp_path / "a.png"), "a.png")]
    predict_files(items, [predictor], settings=PredictConfig(), outputs=Outputs())
    assert capsys.readouterr().out.splitlines()[-1] == "time: 0.5 s (faces 0.3, network 0.2)"


def test_seconds_of_threads_and_of_models_add_up():
    predicting = Timings()

    def work(_number):
        with predicting.part("reading"):
            time.sleep(0.05)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(8)))
    assert predicting.seconds["reading"] >= 0.4
    other = Timings()
    other.seconds.update(reading=100, network=0.01)
    assert time_line(60, [predicting, other]).startswith("time: 60.0 s (reading 100.")


def test_a_part_that_fails_took_its_time():
    predicting = Timings()
    with pytest.raises(ValueError, match="damaged"), predicting.part("writing"):
        raise ValueError("damaged")
    assert predicting.seconds["writing"] > 0
