"""The index on a Milvus server, or on the embedded milvus-lite, behind the same interface."""
