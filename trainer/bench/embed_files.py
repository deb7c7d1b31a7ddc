"""Embeds a folder of JPEG files with PyTorch and torchvision, as `trainer speed embed-files` does: the other side of
`trainer speed compare`.

    python embed_files.py embed-files --images DIR --image 512 --batch 4 --steps 3

A step reads, decodes, fits (longer side to --image, antialiased bilinear, zeros right and below) and embeds --batch files
with torchvision's ResNet50 in evaluation mode. One JSON line on stdout. Needs torch and torchvision.
"""
import argparse
import json
import pathlib
import resource
import time


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("case", choices=["embed-files"])
    ap.add_argument("--images", type=pathlib.Path, required=True)
    ap.add_argument("--image", type=int, default=512)
    ap.add_argument("--batch", type=int, default=4)
    ap.add_argument("--steps", type=int, default=3)
    ap.add_argument("--warmup", type=int, default=1)
    a = ap.parse_args()

    import torch
    import torchvision
    from torchvision.io import ImageReadMode, decode_jpeg, read_file
    from torchvision.transforms.v2 import functional as F

    torch.manual_seed(0)
    model = torchvision.models.resnet50(weights=None)
    model.fc = torch.nn.Identity()
    model.eval()
    files = sorted(a.images.iterdir())

    def fitted(path):
        image = decode_jpeg(read_file(str(path)), mode=ImageReadMode.RGB)  # [3, height, width], 8 bits
        height, width = image.shape[1:]
        scale = max(height, width) / a.image
        image = F.resize(image, [int(height / scale), int(width / scale)], antialias=True)
        height, width = image.shape[1:]
        return F.pad(image, [0, 0, a.image - width, a.image - height]).float() / 255

    def step(number):
        names = [files[(number * a.batch + i) % len(files)] for i in range(a.batch)]
        with torch.inference_mode():
            model(torch.stack([fitted(name) for name in names]))

    for number in range(a.warmup):
        step(number)
    times = []
    for number in range(a.steps):
        start = time.perf_counter()
        step(number)
        times.append(time.perf_counter() - start)
    times.sort()
    print(json.dumps({
        "case": a.case, "batch": a.batch, "steps": a.steps, "seconds_per_step": round(times[len(times) // 2], 4),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }))


if __name__ == "__main__":
    main()
