"""From a URL to the person: download, archive, images, faces."""
