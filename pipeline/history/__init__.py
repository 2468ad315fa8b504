"""What the metadata store tells about runs that were."""
