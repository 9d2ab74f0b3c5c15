"""What several tests need: tiny real models, real servers, images."""
