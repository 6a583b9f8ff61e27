"""Contact sheets show exact pixels, and nothing on them overlaps."""

import io
import xml.etree.ElementTree as ET
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gahbench._util.errors import ParameterError
from gahbench.explore.preview import contact_sheet
from gahbench.report.drawing import encode
from gahbench.report.pictures import Cell, lay_out


def crop_pictures(figure):
    """Yield the pixels of each picture in the PNG of a sheet."""
    page = np.asarray(Image.open(io.BytesIO(encode(figure, ".png"))).convert("RGB"))
    (axes,) = figure.axes
    height, width = axes.get_ylim()[0], axes.get_xlim()[1]
    assert page.shape == (height, width, 3)
    for image in axes.images:
        left, right, bottom, top = map(int, image.get_extent())
        yield page[top:bottom, left:right]


@pytest.mark.parametrize("shape", [(1, 10, 8), (3, 7, 9), (1, 64, 64), (2, 6, 6), (3, 1, 50), (1, 245, 20)])
def test_every_pixel_of_an_image_is_a_square_of_the_sheet(families, shape):
    channels, height, width = shape
    preview = families.preview(f"white[spread=0.4,depth={channels},height={height},width={width}]", [0.1, 0.5], count=2)
    first, second = preview.levels
    columns = (preview.clean, first.noisy, first.denoised, second.noisy, second.denoised)
    shown_columns = [images.mean(1, keepdim=True) if channels == 2 else images for images in columns]
    expected = [images[row].clamp(0, 1) for row in range(2) for images in shown_columns]
    crops = list(crop_pictures(contact_sheet(preview)))
    assert len(crops) == len(expected)
    for pixels, image in zip(crops, expected, strict=True):
        scale = len(pixels) // height
        assert pixels.shape[:2] == (scale * height, scale * width)
        assert scale == 1 or max(pixels.shape) >= 240
        enlarged = image.permute(1, 2, 0).expand(-1, -1, 3).numpy().repeat(scale, 0).repeat(scale, 1)
        assert np.abs(pixels / 255 - enlarged).max() < 0.51 / 255


def test_large_images_are_cropped_to_their_centre(families):
    preview = families.preview("white[height=600,width=520]", [0.1], count=1)
    sheet = contact_sheet(preview)
    for pixels, image in zip(crop_pictures(sheet), (preview.clean, preview.levels[0].noisy), strict=False):
        assert np.abs(pixels[:, :, 0] / 255 - image[0, 0, 44:556, 4:516].clamp(0, 1).numpy()).max() < 0.51 / 255


def bounding_boxes(figure):
    """Return the boxes (left, bottom, right, top) of texts and of pictures, in device pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    (axes,) = figure.axes
    texts = [text.get_window_extent(renderer).extents for text in axes.texts if text.get_text()]
    pictures = [image.get_window_extent(renderer).extents for image in axes.images]
    return texts, pictures


def are_disjoint(box, other_box):
    return box[2] <= other_box[0] or other_box[2] <= box[0] or box[3] <= other_box[1] or other_box[3] <= box[1]


def check_layout(figure):
    texts, pictures = bounding_boxes(figure)
    assert all(are_disjoint(box, other_box) for box, other_box in combinations([*texts, *pictures], 2))
    width, height = figure.get_size_inches() * figure.dpi
    for left, bottom, right, top in [*texts, *pictures]:
        assert min(left, bottom, width - right, height - top) >= 0


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    sigmas=st.lists(st.floats(1e-4, 3), min_size=1, max_size=4),
    rows=st.integers(1, 3),
    name=st.text("abcWM,[=", min_size=1, max_size=120),
)
def test_texts_and_pictures_never_overlap(height, width, sigmas, rows, name):
    picture = np.zeros((height, width), dtype=np.float32)
    titles = ["clean", *(f"genie\nσ = {sigma!r} (≤ {sigma:.1f} dB)" for sigma in sigmas)]
    cells = [[Cell(picture, title if row == 0 else "") for title in titles] for row in range(rows)]
    check_layout(lay_out(cells, [str(10**row) for row in range(rows)], [name, "test images 0 to 3"]))


@pytest.mark.parametrize("suffix", [".png", ".SVG", ".pdf"])
def test_sheets_are_written_reproducibly_in_the_format_of_their_suffix(families, tmp_path, suffix):
    files = [tmp_path / "new" / "folder" / f"{index}{suffix}" for index in range(2)]
    for file in files:
        families.preview("white", [0.1], count=1).save(file)
    first_file, first, second = files[0], *(file.read_bytes() for file in files)
    assert first == second
    if suffix == ".SVG":
        root = ET.fromstring(first)
        assert root.tag.endswith("svg")
        # The clean, noisy and optimal images have 24 device pixels per pixel.
        images = root.iter(root.tag[:-3] + "image")
        sizes = [(float(image.get("width")), float(image.get("height"))) for image in images]
        assert sizes == [pytest.approx((8 * 24 * 72 / 200, 10 * 24 * 72 / 200))] * 3
    else:
        assert first.startswith({".png": b"\x89PNG", ".pdf": b"%PDF"}[suffix])
    for wrong in (first_file / "sheet.png", tmp_path / "sheet.jpg"):
        with pytest.raises(ParameterError, match=r"cannot be written|accepted: \.png, \.svg, \.pdf"):
            families.preview("white", [0.1], count=1).save(wrong)
