"""Publishing: a copy of a dataset, transform, metric or model goes to the Hub, inspected and with a card."""

from hf_alignet.hub.publish.upload import publish

__all__ = ["publish"]
