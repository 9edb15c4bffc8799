"""Upload photos of a person, ask for two pictures, save them: `python sync.py photos.zip`."""

import sys
from pathlib import Path

import fal_client
import httpx

result = fal_client.subscribe(
    "fal-ai/photomaker",
    arguments={
        "image_archive_url": fal_client.upload_file(sys.argv[1]),
        "prompt": "portrait photo of a man img, smiling, on a beach",
        "num_images": 2,
        "num_inference_steps": 20,
        "seed": 42,
    },
)
for number, image in enumerate(result["images"]):
    file = Path(f"sync-{result['seed'] + number}.png")
    file.write_bytes(httpx.get(image["url"]).raise_for_status().content)
    print(f"saved {file}")
