"""Keypoints: layouts, readers, other tools' files, extraction, augmentation, heat-maps."""
