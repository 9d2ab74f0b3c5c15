"""EuclidesDB's server: runs models, keeps what they say, answers "what is most like this?"."""
