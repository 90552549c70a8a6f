"""Credits go, and captions that only begin like one stay."""

import csv
from pathlib import Path

import pytest

from pipeline.text.credits import is_credit
from pipeline.text.rules import Row, Thresholds, verdict

CREDITS = """
Photo: Jane Doe / Flickr
Photo: Jane Doe / Kestrel Press
Photo: jane_doe via Flickr
Photo: Jane Doe, CC BY-SA 4.0
Photo: flightlog, CC BY 2.0
Photo: AP Photo/Jane Doe
Photo: NASA/JPL-Caltech
Photo: Reuters
PHOTO: Getty Images
Photo: Jane Doe (Alamy)
Image: Wikimedia Commons
Image: NASA
Foto: Max Müller/dpa
Foto: privat
Foto: © rido/123RF.com
Photo by John Smith
Photo by Jane Doe on Unsplash
Photo taken by Jane Doe
Photographed by Ansel Adams
Photo via Shutterstock
Image courtesy of NASA
Courtesy of Jane Doe
Photo credit: the library of congress
Photo credit - Jane Doe
Image source: Wikipedia
Bildquelle: Stadt Bonn
Bildnachweis: Max Müller
Fotograf: Max Müller
Crédit photo : AFP
© 2019 Example Limited
(c) 2012 Jane Doe
(c) Jane Doe
Copyright © Jane Doe
Copyright Jane Doe
Getty Images
Getty Images/iStockphoto
Getty Images for Kestrel
Getty Images North America
Photo: Jane Doe/Getty Images
Photo courtesy of Glacier National Park
Photo courtesy of the Boston Red Sox
Image credit: City of Boston
Courtesy of the artist
Courtesy of the Metropolitan Museum of Art, New York
Courtesy of the Library of Congress
Credit: National Park Service
Credit: Seattle Art Museum
Credit: NASA, ESA, and the Hubble Heritage Team
Source: own work
Source: Google Maps
Source: World Bank 2019
© 2019 Example Ltd. All rights reserved.
© Jane Doe. Used by permission
© jane doe photography
© ArGe Medien im ZVEH
© Hotel Adlon in Berlin
© Foto: Johanna Link / Donna Magazin
Photo credit: Flickr: Jane Doe
Bildquelle: Schloss Neuschwanstein
"""

CAPTIONS = """
Photo: Golden Gate Bridge
Bild: Fahne von Singapur
Art by Nature
Photo: Megan Fox
Photo: Scranton, PA
Photo: Golden Gate Bridge / Flickr
Foto: Rathaus / Marktplatz
Photo: Golden Gate Bridge / San Francisco
Photo: US Capitol at dawn
Photo: NASA astronauts on the Moon
Photo: a dog on the beach, CC BY 2.0
Image: Uffizi Gallery
Image:Golden Gate Bridge
Image: YouTube logo
Image: Flag of France
Image by the window of an old house
Imagen: Catedral de Sevilla
Bild: Instagram Logo
Foto: Kölner Dom bei Nacht
Foto: Puerta del Sol, Madrid
Picture: The Starry Night (1889)
Picture Rocks
Photo booth
Copyright infringement
(c) Scanning electron micrograph
(c) detail of the sample
Getty Museum
Source of the Nile
Quelle der Donau
Credit card
Fonte Gaia
Foto Museum Antwerpen
Photo courtesy of NASA/JPL: Mars surface
Photo: NASA/JPL: Mars surface
Image courtesy of ESO: the Orion Nebula
Credit: NASA. Mars seen from orbit
© 2019 Jane Doe. Sunset over the lake
Photo by Jane Doe/Reuters: the beach at dawn
Getty Images headquarters in Seattle
Getty Images office
Photo: Getty Images headquarters in Seattle
© Disney's Mickey Mouse in Orlando
© Kestrel's red car at the show
Credit: 3 bike hire sign
Credit: two dogs on a beach
Credit: a red barn
Credit: Golden Gate Bridge
Source: Tower Bridge at night
Source: Statue of Liberty
Source: Lake Tahoe
Quelle: Kölner Brücke, Rhein
Courtesy of the Red, White and Blue
"""


@pytest.mark.parametrize("text", CREDITS.strip().splitlines())
def test_credits_are_dropped_wherever_they_stand(text: str) -> None:
    assert is_credit(text, False) and is_credit(text, True)


@pytest.mark.parametrize("text", CAPTIONS.strip().splitlines())
def test_captions_that_begin_like_a_credit_are_kept(text: str) -> None:
    assert not is_credit(text, False)


FORMS = ["Credit: {}", "Source: {}", "Courtesy of {}", "Photo courtesy of {}", "© {}", "© 2019 {}", "Getty Images / {}"]


@pytest.mark.parametrize("form", FORMS)
def test_what_spares_captions_spares_no_maker(form: str, data: Path) -> None:
    """All photographers of 150 pictures, whatever they call themselves."""
    with (data / "web" / "photos.test.attributions.csv").open(newline="", encoding="utf-8") as table:
        makers = {row["Author"] for row in csv.DictReader(table)}
    assert len(makers) > 100
    assert [maker for maker in sorted(makers) if not is_credit(form.format(maker), False)] == []


@pytest.mark.parametrize(
    ("text", "credit"),
    [
        ("Photo: Jane Doe", True),
        ("Foto: Max Müller", True),
        ("Photo: J. Backlund", True),
        ("Photo: Mattel", True),
        ("Photo: Jane Doe, 2019", True),
        ("Photo: Apollo 11 Launch", False),
        ("Photo: Golden Gate Bridge", False),
        ("Bild: Fahne von Singapur", False),
        ("Image: Uffizi Gallery", False),
        ("Photo: the dog of Jane Doe", False),
    ],
)
def test_after_a_label_a_figcaption_names_the_maker_and_an_alt_the_subject(text: str, credit: bool) -> None:
    def asked(source: str) -> str | None:
        return verdict(
            Row(text=text, text_source=source, image_url="http://a.test/1.jpg", lang="en", lang_score=1.0),
            Thresholds(rules=["is_a_credit"]),
        )

    assert asked("figcaption") == ("is_a_credit" if credit else None)
    assert asked("alt") is None and asked("caption") is None
