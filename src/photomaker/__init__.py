"""PhotoMaker: customised pictures of a person from a few photos, by stacked ID embedding (arXiv 2312.04461)."""
