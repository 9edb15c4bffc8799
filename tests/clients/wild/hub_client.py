"""huggingface_hub with a key of fal's: it submits, follows the answer's URLs, and downloads the picture."""

import io
import os

from huggingface_hub import InferenceClient
from huggingface_hub.hf_api import InferenceProviderMapping
from huggingface_hub.inference._providers import fal_ai
from huggingface_hub.inference._providers._common import HARDCODED_MODEL_INFERENCE_MAPPING

MAPPINGS = {
    f"any/{task}": InferenceProviderMapping(
        provider="fal-ai", hf_model_id=f"any/{task}", providerId="fal-ai/photomaker", status="live", task=task
    )
    for task in ("text-to-image", "image-to-image")
}
HARDCODED_MODEL_INFERENCE_MAPPING["fal-ai"] = MAPPINGS  # that look-up is the hub's, not fal's
assert fal_ai

client = InferenceClient(provider="fal-ai", api_key=os.environ["FAL_KEY"])
picture = client.text_to_image("by the hub's client", model="any/text-to-image")
assert picture.size == (8, 8)
picture.save(content := io.BytesIO(), "png")
assert client.image_to_image(content.getvalue(), prompt="edited", model="any/image-to-image").size == (8, 8)
try:
    client.text_to_image("", model="any/text-to-image")
except Exception as error:
    refusal = str(error)
else:
    refusal = ""
assert "422" in refusal, refusal
