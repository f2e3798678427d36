"""Open published ShuffleNet checkpoints safely, recognise them and convert them exactly."""

from .files import open_checkpoint
from .images import Images
from .loading import (
    call,
    convert_file,
    fit_data_preprocessor,
    load_pretrained,
    needed_arguments,
    read_weights,
    redirect_load_from,
    title,
)
from .records import RECORDS, find_record

__all__ = [
    "RECORDS",
    "Images",
    "call",
    "convert_file",
    "find_record",
    "fit_data_preprocessor",
    "load_pretrained",
    "needed_arguments",
    "open_checkpoint",
    "read_weights",
    "redirect_load_from",
    "title",
]
