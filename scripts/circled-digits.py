#!/usr/bin/env python3
"""Learns ingest/models/circled_digits.txt: what the digits in circles look like.

    scripts/circled-digits.py --fonts /usr/share/fonts [--hold-out NAME ...] [--out FILE]

Draws circled digits in every font that has them (17 to 34 px; scaled, blurred, noisy, JPEG), cuts the digit out as
`ingest::ocr::digit` does, and keeps the means of a few clusters for each digit. Fonts held out are not learnt from but
measured. Needs Python with pillow, numpy, scikit-learn, fonttools.
"""
import argparse
import collections
import io
import os
import random

import numpy as np
from fontTools.ttLib import TTCollection, TTFont
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from sklearn.cluster import KMeans

ROWS, COLUMNS, INSIDE, SUB = 16, 12, 0.74, 3


def fonts_with_circles(roots):
    for root in roots:
        for folder, _, files in os.walk(root):
            for name in sorted(files):
                path = os.path.join(folder, name)
                if not name.lower().endswith((".ttf", ".ttc", ".otf")) or "italic" in name.lower() or "oblique" in name.lower():
                    continue
                try:
                    face = TTCollection(path, lazy=True).fonts[0] if path.endswith(".ttc") else TTFont(path, lazy=True)
                    if all(0x2460 + k in face.getBestCmap() for k in range(9)):
                        yield name, path
                except Exception as error:                      # a broken font is left out
                    print("left out:", name, error)


def draw(path, text, rng):
    """Ink of one character, 0..255, cut to its box; None where it is no ring."""
    size = rng.randint(17, 34)
    font = ImageFont.truetype(path, size)
    image = Image.new("L", (3 * size, 3 * size), 255)
    ImageDraw.Draw(image).text((size, 2 * size), text, font=font, fill=rng.choice([0, 20, 40]), anchor="ls")
    scale = rng.uniform(0.82, 1.2) if rng.random() < 0.6 else 1.0
    side = round(3 * size * scale)
    image = image.resize((side, side), Image.LANCZOS if scale < 1 else Image.BICUBIC)
    if rng.random() < 0.4:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 0.8)))
    pixels = np.asarray(image).astype(float)
    if rng.random() < 0.3:
        pixels += np.random.default_rng(rng.randrange(1 << 30)).normal(0, rng.uniform(1.5, 5), pixels.shape)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype("uint8")).save(buffer, "JPEG", quality=rng.randint(75, 95))
    ink = 255 - np.asarray(Image.open(buffer)).astype(float)
    rows, columns = np.where((ink > 110).any(1))[0], np.where((ink > 110).any(0))[0]
    if len(rows) < 8 or len(columns) < 8:
        return None
    cut = ink[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    return cut if 10 * max(cut.shape) <= 12 * min(cut.shape) else None


def digit(ink):
    """The digit by its own box: ROWS x COLUMNS, its height stretched to ROWS; unit length, mean 0."""
    height, width = ink.shape
    y, x = np.mgrid[0:height, 0:width]
    radius = np.hypot((y - (height - 1) / 2) / (height / 2), (x - (width - 1) / 2) / (width / 2))
    ink = np.where(radius < INSIDE, ink, 0)
    on = ink >= ink.max() / 2
    rows, columns = np.where(on.any(1))[0], np.where(on.any(0))[0]
    top, bottom, middle = rows[0], rows[-1] + 1, (columns[0] + columns[-1] + 1) / 2
    step = (bottom - top) / ROWS
    ys = top + (np.arange(ROWS * SUB) + 0.5) / SUB * step - 0.5
    xs = middle + ((np.arange(COLUMNS * SUB) + 0.5) / SUB - COLUMNS / 2) * step - 0.5
    padded = np.pad(ink, 1)
    ys, xs = np.clip(ys + 1, 0, height + 0.999), np.clip(xs + 1, 0, width + 0.999)
    y0, x0 = np.floor(ys).astype(int), np.floor(xs).astype(int)
    fy, fx = (ys - y0)[:, None], (xs - x0)[None, :]
    at = lambda dy, dx: padded[np.ix_(np.minimum(y0 + dy, height + 1), np.minimum(x0 + dx, width + 1))]
    value = (at(0, 0) * (1 - fx) + at(0, 1) * fx) * (1 - fy) + (at(1, 0) * (1 - fx) + at(1, 1) * fx) * fy
    cells = value.reshape(ROWS, SUB, COLUMNS, SUB).mean((1, 3)).ravel()
    cells = cells - cells.mean()
    return cells / (np.linalg.norm(cells) + 1e-9)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fonts", nargs="+", default=["/usr/share/fonts"])
    parser.add_argument("--hold-out", nargs="*", default=[], help="file names of fonts that are measured only")
    parser.add_argument("--each", type=int, default=8, help="drawings of each digit in each font")
    parser.add_argument("--clusters", type=int, default=4)
    parser.add_argument("--out")
    options = parser.parse_args()
    rng = random.Random(2460)
    learnt, held, used = [[] for _ in range(9)], [], []
    for name, path in fonts_with_circles(options.fonts):
        out = name in options.hold_out
        used += [] if out else [name]
        for k in range(9):
            for _ in range(options.each):
                try:
                    ink = draw(path, chr(0x2460 + k), rng)
                except OSError:                                 # bitmaps or hinting that the renderer refuses
                    continue
                if ink is not None:
                    (held.append((name, k, digit(ink))) if out else learnt[k].append(digit(ink)))
    means, labels = [], []
    for k in range(9):
        means += list(KMeans(options.clusters, n_init=3, random_state=0).fit(np.array(learnt[k])).cluster_centers_)
        labels += [k + 1] * options.clusters
    levels = []
    for mean in means:
        low, high = mean.min(), mean.max()
        levels.append(np.rint((mean - low) / (high - low) * 9).astype(int))
    unit = np.array([(l - l.mean()) / np.linalg.norm(l - l.mean()) for l in levels])
    if held:
        right, count, sure = collections.Counter(), collections.Counter(), []
        for name, k, cells in held:
            match = unit @ cells
            right[name] += labels[match.argmax()] == k + 1
            count[name] += 1
            sure.append((match.max(), labels[match.argmax()] == k + 1))
        for name in sorted(count):
            print(f"{name:28s} {right[name] / count[name]:.3f} of {count[name]}")
        for bound in (0.6, 0.65, 0.7, 0.75, 0.8):
            kept = [ok for value, ok in sure if value >= bound]
            print(f"match >= {bound}: {len(kept) / len(sure):.3f} kept, {np.mean(kept):.4f} right")
    if options.out:
        with open(options.out, "w", encoding="utf-8") as out:
            out.write("# Digits in circles: means of clusters of drawn ones, ink 0 to 9, 16 rows of 12 cells; learnt by scripts/circled-digits.py\n")
            out.write(f"# from {sum(map(len, learnt))} drawings in {len(used)} fonts.\n")
            for label, level in zip(labels, levels):
                out.write(f"\n{label}\n")
                for row in level.reshape(ROWS, COLUMNS):
                    out.write("".join(str(v) for v in row).replace("0", ".") + "\n")


if __name__ == "__main__":
    main()
