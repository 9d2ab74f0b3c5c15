"""The Docker image, on a real engine: `make docker-test`."""
