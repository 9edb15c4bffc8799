"""PhotoMaker in a program of your own, without the endpoint: `python pipeline.py photo.jpg…`.

With the small checkpoint of this repository. For the real one, on a GPU:

    PhotoMakerPipeline.from_pretrained(
        "SG161222/RealVisXL_V4.0",
        "TencentARC/PhotoMaker/photomaker-v1.bin",
        scheduler="euler", dtype=torch.bfloat16, device="cuda",
    )
"""

import sys
from importlib import resources

import torch
from PIL import Image

from photomaker import PhotoMakerPipeline

nano = resources.files("photomaker") / "nano"
pipe = PhotoMakerPipeline.from_pretrained(str(nano / "base"), str(nano / "photomaker-v1.safetensors"))
pictures = pipe(
    "photo of a man img wearing a blue hoodie, smiling, on a beach",
    [Image.open(path) for path in sys.argv[1:]],
    num_images=2,
    generator=[torch.Generator().manual_seed(seed) for seed in (1, 2)],
    on_step=lambda done, steps: print(f"step {done}/{steps}"),
)
for number, picture in enumerate(pictures):
    picture.save(f"pipeline-{number}.png")
    print(f"saved pipeline-{number}.png")
