"""Made-up signers: an invented sign language, people who sign it, their skeletons, pictures and corpus files."""
