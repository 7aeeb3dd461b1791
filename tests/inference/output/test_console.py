"""The last line of a call: how many faces, and how many samples of how many people in films."""

from fer_hierarchy.inference.output.console import Summary


def row(file, emotion, track=None, run="flat"):
    return {"file": file, "emotion": emotion, "track": track, "run": run, "error": None, "faces": 1}


def test_pictures_count_faces_and_films_samples_of_people():
    summary = Summary()
    summary.count([row("a.jpg", "happy"), row("a.jpg", "sad")])
    summary.count([*[row("film.mp4", "happy", 1)] * 70, *[row("film.mp4", "sad", 1)] * 5])
    assert summary.line(0) == "2 files; 2 faces (happy 1, sad 1); 75 samples of 1 track (happy 70, sad 5)"
    summary.count([row("other.mp4", "happy", 1)])
    assert "76 samples of 2 tracks" in summary.line(0)
