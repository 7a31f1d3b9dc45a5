"""Writes files: each is complete or absent, long work continues where it stopped, and nothing of others is touched.

A file or folder is written under a hidden name. It gets its own name when it is complete and on the disk. So neither a
reader nor a run after a crash finds half a file. A hidden name begins with a dot and ends with `.unfinished`. Output
folders are opened by `output_folder`, which refuses those that we did not make or that another run is using.
Everything that writes here raises RunError if the disk is full, or cannot be written for another reason.
"""

from hf_alignet.storage.output_folders import (
    MARKER,
    OURS,
    as_folder,
    check_folder,
    empty,
    make_folder,
    output_folder,
    require_space,
)
from hf_alignet.storage.resumable_arrays import ResumableArray
from hf_alignet.storage.split_files import write_dataset
from hf_alignet.storage.whole_files import (
    UNFINISHED,
    whole_file,
    write_array,
    write_json,
    write_table,
    write_text,
    writing,
)
from hf_alignet.storage.whole_folders import (
    CHECKSUMS,
    holding,
    new_files,
    publish,
    take_files,
    unfinished,
    whole_directory,
    write_checksums,
)

__all__ = [
    "CHECKSUMS",
    "MARKER",
    "OURS",
    "UNFINISHED",
    "ResumableArray",
    "as_folder",
    "check_folder",
    "empty",
    "holding",
    "make_folder",
    "new_files",
    "output_folder",
    "publish",
    "require_space",
    "take_files",
    "unfinished",
    "whole_directory",
    "whole_file",
    "write_array",
    "write_checksums",
    "write_dataset",
    "write_json",
    "write_table",
    "write_text",
    "writing",
]
