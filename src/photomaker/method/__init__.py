"""PhotoMaker itself: prompts, ID tokens, conditioning, denoising."""
