"""Video, audio and pose files in, plain arrays out; only local files, checked before and while they are decoded."""
