"""Helpers of several rooms: tiny real models, real servers, images, and the ledger of writes."""
