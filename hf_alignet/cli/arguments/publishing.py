"""Settings of `hf-alignet publish` as flags."""

from dataclasses import dataclass, field

from hf_alignet.hub.publish.publication import PublishedKind
from hf_alignet.judgments.similarity_matrices import MatrixKind
from hf_alignet.judgments.things import ObjectOrder


@dataclass
class PublishArguments:
    """What is published, where, and under which terms."""

    kind: PublishedKind = field(metadata={"help": "What is published. Also the first word of the command."})
    path: str = field(metadata={"help": "Local file or directory. Also the second word of the command."})
    repo_id: str = field(metadata={"help": "Name on the Hub, user/name. Also the third word of the command."})
    private: bool = field(default=False, metadata={"help": "Make a new repository private."})
    revision: str | None = field(default=None, metadata={"help": "Branch, made if needed. Default: the main branch."})
    dry_run: bool = field(default=False, metadata={"help": "Only show the files and the card, without the network."})
    license: str | None = field(default=None, metadata={"help": "Licence, as the Hub calls it, such as cc-by-4.0."})
    source: str | None = field(default=None, metadata={"help": "Datasets: a sentence for the card about the origin."})
    images: str | None = field(default=None, metadata={"help": "Judgments, matrices: dataset of the judged pictures."})
    i_have_the_right_to_share_images: bool = field(
        default=False, metadata={"help": "Say that the pictures may be shared. Otherwise no picture is uploaded."}
    )
    object_names: str | None = field(
        default=None, metadata={"help": "Judgments: text file, the name of one picture a line, instead of --images."}
    )
    object_order: ObjectOrder | None = field(
        default=None, metadata={"help": "How files of THINGS number the objects. Default: by the name of the file."}
    )
    matrix_kind: MatrixKind | None = field(
        default=None, metadata={"help": "What a matrix holds. Default: as its diagonal shows."}
    )
    output_dir: str = field(default="outputs/published", metadata={"help": "Directory for the copy, which stays."})
    disable_tqdm: bool = field(default=False, metadata={"help": "Show no progress bars."})
