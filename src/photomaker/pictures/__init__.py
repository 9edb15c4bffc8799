"""What comes out: the safety check and the encoding."""
