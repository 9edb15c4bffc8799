"""huggingface_hub with a key of fal's: it submits, follows the answer's URLs, and downloads the picture."""

import os

from huggingface_hub import InferenceClient
from huggingface_hub.hf_api import InferenceProviderMapping
from huggingface_hub.inference._providers import fal_ai
from huggingface_hub.inference._providers._common import HARDCODED_MODEL_INFERENCE_MAPPING

mapping = InferenceProviderMapping(
    provider="fal-ai", hf_model_id="any/model", providerId="fal-ai/photomaker", status="live", task="text-to-image"
)
HARDCODED_MODEL_INFERENCE_MAPPING["fal-ai"] = {"any/model": mapping}  # that look-up is the hub's, not fal's
assert fal_ai

client = InferenceClient(provider="fal-ai", api_key=os.environ["FAL_KEY"])
picture = client.text_to_image("by the hub's client", model="any/model")
assert picture.size == (8, 8)
try:
    client.text_to_image("", model="any/model")
except Exception as error:
    refusal = str(error)
else:
    refusal = ""
assert "422" in refusal, refusal
