"""The drawings hold numbers and our own names, whatever a feed says."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from web.pages.map import WHEELS, Reading, drawing, slug, values, wheel
from web.pages.spark import spark
from web.pages.style import colours
from web.verdicts import without_each, words_of


def test_the_map_is_well_formed_and_every_number_has_a_place_in_it() -> None:
    drawn = drawing()
    ET.fromstring(f"<both>{drawn}</both>")  # noqa: S314  (it is our own)
    readings = {wheel(one): Reading(lag=5) for one in WHEELS} | {
        "feed.events": Reading(rate=2_345.6, oldest_s=3.2)
    }
    found = values(readings)
    assert found["map-feed-events-rate"] == "2,346/s"
    assert found["map-feed-events-lag"] == "oldest 3 s"
    assert found[f"map-{slug(wheel(WHEELS[0]))}-lag"] == "lag 5"
    assert all(name in drawn for name, text in found.items() if text)


def test_a_line_over_volume_is_well_formed_for_one_point_and_for_many() -> None:
    point = {"bucket": 60_000, "n": 3, "mean": 0.5}
    for points in ([point], [point | {"bucket": 60_000 * n, "mean": n - 3.0} for n in range(9)]):
        drawn = ET.fromstring(spark(points, colours(dark=True)))  # noqa: S314
        assert drawn.tag.endswith("svg")
    assert spark([], colours(dark=False)) == ""


def test_each_word_is_left_out_once_and_the_rest_stays_as_it_is() -> None:
    text = "Corwick  cuts jobs, again"
    found = without_each(text, words_of(text))
    assert found == [
        "cuts jobs, again",
        "Corwick  jobs, again",
        "Corwick  cuts again",
        "Corwick  cuts jobs,",
    ]
