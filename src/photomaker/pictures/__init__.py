"""What comes out: the safety check, the likeness, previews and the encoding."""
