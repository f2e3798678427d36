"""Published ShuffleNet checkpoints: opened safely, recognised, converted exactly, or refused."""

from .files import open_checkpoint
from .images import Images, compare_images
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
from .recognition import Weights, recognise
from .records import RECORDS, Record, find_record

__all__ = [
    "RECORDS",
    "Images",
    "Record",
    "Weights",
    "call",
    "compare_images",
    "convert_file",
    "find_record",
    "fit_data_preprocessor",
    "load_pretrained",
    "needed_arguments",
    "open_checkpoint",
    "read_weights",
    "recognise",
    "redirect_load_from",
    "title",
]
