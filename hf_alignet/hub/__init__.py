"""The Hub: cards of what we share."""

from hf_alignet.hub.card import model_card, write_model_card
from hf_alignet.hub.license import stated_license
from hf_alignet.hub.measured import check_model_directory, fetch_card, share_card, update_card
from hf_alignet.hub.sharing import make_repository, share_folder
from hf_alignet.hub.triplets import write_triplets_card
from hf_alignet.sources import public_name

__all__ = [
    "check_model_directory",
    "fetch_card",
    "make_repository",
    "model_card",
    "public_name",
    "share_card",
    "share_folder",
    "stated_license",
    "update_card",
    "write_model_card",
    "write_triplets_card",
]
