"""Several prompts of one person at once, each with its progress: `python async.py photos.zip`."""

import asyncio
import sys

import fal_client

PLACES = ("on a beach", "in a city at night", "in the snow")


async def picture(archive: str, place: str) -> str:
    handle = await fal_client.submit_async(
        "fal-ai/photomaker",
        arguments={
            "image_archive_url": archive,
            "prompt": f"portrait photo of a woman img {place}",
            "num_inference_steps": 20,
        },
    )
    async for event in handle.iter_events(with_logs=True):
        if isinstance(event, fal_client.Queued):
            print(f"{place}: waiting, {event.position} before it")
        elif isinstance(event, fal_client.InProgress) and event.logs:
            print(f"{place}: {event.logs[-1]['message']}")
    result = await handle.get()
    return f"{place}: {result['images'][0]['url'][:120]}"


async def main() -> None:
    archive = await fal_client.upload_file_async(sys.argv[1])
    for line in await asyncio.gather(*(picture(archive, place) for place in PLACES)):
        print(line)


asyncio.run(main())
