"""Build `hf_alignet/demo/emoji.parquet`: 64-pixel pictures of Unicode emoji concepts in six drawing styles.

For maintainers: users get the finished file with the package. Needs npm, the network and PyPI's resvg-py 0.5.0.
Concepts are chosen by Unicode group and subgroup alone, so the labels owe nothing to any data set of human choices.

    python recipes/demo/build_emoji.py
"""

import argparse
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
from PIL import Image
from tqdm import tqdm

SIZE = 64  # pixels
MIN_STYLES, MIN_CONCEPTS = 4, 4  # per concept, per subgroup
STYLES = {  # style: (npm package, licence of the pictures)
    "noto": ("@iconify-json/noto@1.2.9", "Apache-2.0"),
    "noto_v1": ("@iconify-json/noto-v1@1.2.5", "Apache-2.0"),
    "fluent_color": ("@iconify-json/fluent-emoji@1.2.7", "MIT"),
    "fluent_flat": ("@iconify-json/fluent-emoji-flat@1.2.6", "MIT"),
    "fluent_3d": ("@lobehub/fluent-emoji-3d@1.1.0", "MIT"),
    # The npm package says Apache-2.0; the upstream LICENSE.md gives that to the code, CC BY 4.0 to the visual design.
    "fxemoji": ("@iconify-json/fxemoji@1.2.2", "CC-BY-4.0"),
}
EMOJIBASE = "emojibase-data@17.0.0"  # names, order, groups and subgroups of Unicode's emoji-test.txt
CHARACTER_TABLES = {"noto": "noto", "noto_v1": "noto", "fluent_color": "fluent_flat", "fluent_flat": "fluent_flat"}
GROUPS = {"animals-nature", "food-drink", "travel-places", "activities", "objects"}
# Left out: `sky-weather` shows moon phases and states of the air; `event` joins a tree, a balloon and a ticket by mere
# occasion; `place-other` and `other-object` are what remained after sorting; `sound` is mostly volume symbols.
OMITTED_SUBGROUPS = {"sky-weather", "event", "place-other", "other-object", "sound"}
DIALS = range(0x1F550, 0x1F568)  # 24 clock faces in `time` that differ only in the angle of the hands
# These show a cricket bat, a domino and a dialog box.
MISNAMED = {("noto_v1", "cricket"), ("fxemoji", "game die"), ("fxemoji", "window")}
# FxEmojis has no code points and often names of its own: "tiger" shows only the face, "tigerside" the whole animal.
FXEMOJI_NAMES = """
dog face:dog|dog:dogside|cat face:cat|cat:catside|tiger face:tiger|tiger:tigerside|leopard:leopardside
mouse face:mouse|mouse:mouseside|hamster:hampster|rabbit face:bunny|rabbit:bunnyside|pig face:pig|pig:pigside
pig nose:pigsnout|front-facing baby chick:frontfacingchick|dragon face:dragonhead|dragon:dragonside
spouting whale:spurtingwhale|evergreen tree:evergreen|fallen leaf:fallingleaf|leaf fluttering in wind:leaffluttering
hot pepper:chilipepper|fish cake with swirl:fishcakeswirl|fork and knife with plate:forkknife
globe showing Europe-Africa:europeafricaglobe|globe showing Americas:americasglobe
globe showing Asia-Australia:asiaaustraliaglobe|globe with meridians:meridianglobe|map of Japan:silhouetteohjapan
snow-capped mountain:snowmountains|beach with umbrella:beachumbrella|building construction:construction
construction:constructionsign|Tokyo tower:toykotower|bullet train:highspeedtrainbulletnose|racing car:racecar
hourglass not done:hourglassflowingsand|mantelpiece clock:manltepiececlock|tennis:tennisball
mahjong red dragon:mahjong|sunglasses:darksunglasses|necktie:tie|t-shirt:mansshirt|woman’s clothes:womansshirt
purse:pinkwallet|clutch bag:makeupbag|man’s shoe:mensshoe|running shoe:mensrunner|high-heeled shoe:heels
woman’s sandal:sandals|woman’s boot:boot|gem stone:gem|studio microphone:studiomic|control knobs:controlknob
mobile phone:cellphone|mobile phone with arrow:phonerightarrowleft|telephone receiver:telephonereceiver2
laptop:oldpersonalcomputer|keyboard:wiredkeyboard|floppy disk:floppydisk2|video camera:handheldvideocamera
videocassette:videocasette|magnifying glass tilted left:leftmagnifyingglass
magnifying glass tilted right:rightmagnifyingglass|notebook with decorative cover:notebookdecorativecover
bookmark tabs:bookmarktab|yen banknote:banknoteyen|dollar banknote:banknotedollar|euro banknote:banknoteeuro
pound banknote:banknotepound|chart increasing with yen:chartupwardstrendyen|envelope with arrow:envelopedownarrowabove
outbox tray:outbox|closed mailbox with raised flag:closedmailboxraised
closed mailbox with lowered flag:closedmailboxlowered|open mailbox with raised flag:openmailboxraised
open mailbox with lowered flag:openmailboxlowered|ballot box with ballot:ballottboxwithballott|pen:lowerleftpen
chart increasing:chartupwardstrend|chart decreasing:chartdownwardstrend|locked with key:lockandkey
"""


def fetch(package: str, folder: str) -> tarfile.TarFile:
    """Download one pinned npm package and open it without unpacking."""
    command = ["npm", "pack", "--silent", "--pack-destination", folder, package]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        sys.exit("npm was not found: install Node.js, which brings it.")
    except subprocess.CalledProcessError as error:
        sys.exit(f"`{' '.join(command)}` failed:\n{error.stderr or error.stdout}")
    return tarfile.open(Path(folder, done.stdout.split()[-1]))


def read_member(package: tarfile.TarFile, name: str) -> bytes:
    member = package.extractfile(name)
    if member is None:
        sys.exit(f"`{name}` of an npm package is not a file.")
    return member.read()


def read_json(package: tarfile.TarFile, name: str) -> Any:
    return json.loads(read_member(package, f"package/{name}"))


def plain(name: str) -> str:
    """`plain("woman’s hat") == plain("womans-hat")`"""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def is_wanted(entry: dict, meta: dict) -> bool:
    group, subgroup = meta["groups"].get(str(entry.get("group"))), meta["subgroups"].get(str(entry.get("subgroup")))
    is_dial = len(entry["hexcode"]) == 5 and int(entry["hexcode"], 16) in DIALS
    return group in GROUPS and subgroup not in OMITTED_SUBGROUPS and not is_dial


def drawings(icons: dict) -> dict[str, str]:
    """SVG text by plain name of every icon and alias of an Iconify set."""
    svg = {}
    for name, icon in icons["icons"].items():
        if 'class="' in icon["body"]:  # a few FxEmojis lost the style sheet with their colours
            continue
        width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
        frame = f'viewBox="0 0 {width} {height}" width="{SIZE}" height="{SIZE}"'
        spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        svg[plain(name)] = f"<svg {spaces} {frame}>{icon['body']}</svg>"
    for name, alias in icons.get("aliases", {}).items():
        if alias.keys() == {"parent"} and plain(alias["parent"]) in svg:  # the turned ones are hands only
            svg[plain(name)] = svg[plain(alias["parent"])]
    return svg


def to_webp(picture: bytes, **options: bool | int) -> bytes | None:
    """Flatten onto white, resize and encode; None if nothing is to be seen."""
    image = Image.open(io.BytesIO(picture)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    image = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)  # a copy where the size is right already
    if image.getcolors(maxcolors=1) is not None:  # not more than one colour
        return None
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", **options)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("hf_alignet/demo/emoji.parquet"), help="file to write")
    args = parser.parse_args()
    try:
        import resvg_py
    except ImportError:
        sys.exit("resvg_py was not found: pip install resvg-py==0.5.0")

    with tempfile.TemporaryDirectory() as folder:
        packages = {style: fetch(package, folder) for style, (package, _) in tqdm(STYLES.items(), desc="npm pack")}
        emojibase = fetch(EMOJIBASE, folder)
        emoji = sorted(read_json(emojibase, "en/data.json"), key=lambda e: e.get("order", 0))
        meta, unicode_names = read_json(emojibase, "meta/groups.json"), read_json(emojibase, "meta/unicode-names.json")
        messages = read_json(emojibase, "en/messages.json")
        group_names = {group["order"]: group["message"].title() for group in messages["groups"]}
        svg = {s: drawings(read_json(packages[s], "icons.json")) for s in STYLES if s != "fluent_3d"}
        tables = {style: read_json(packages[table], "chars.json") for style, table in CHARACTER_TABLES.items()}
        assets = {Path(name).stem.replace("-fe0f", ""): name for name in packages["fluent_3d"].getnames()}

        own_names = dict(pair.split(":") for line in FXEMOJI_NAMES.split("\n") if line for pair in line.split("|"))

        rows = []
        for entry in tqdm([e for e in emoji if is_wanted(e, meta)], desc="drawing"):
            concept, code = entry["label"], entry["hexcode"].lower()
            bare = code.replace("-fe0f", "")  # U+FE0F only asks for the coloured form; the sets differ in writing it
            pictures = {}
            for style in STYLES:
                if (style, concept) in MISNAMED:
                    continue
                if style == "fluent_3d":
                    # The only shaded pictures: lossless they would take 40 % of a file of more than 6 MB.
                    options = {"quality": 90}
                    data = read_member(packages[style], assets[bare]) if bare in assets else b""
                else:
                    options = {"lossless": True, "quality": 100}
                    names = [tables[style][key] for key in (code, bare) if key in tables.get(style, {})]
                    if style == "fxemoji":
                        unicode_name = unicode_names.get(entry["hexcode"], "")
                        names = [own_names[concept]] if concept in own_names else [concept, unicode_name]
                    text = next((svg[style][plain(name)] for name in names if plain(name) in svg[style]), None)
                    data = b""
                    if text:
                        data = bytes(resvg_py.svg_to_bytes(text, width=SIZE, height=SIZE, skip_system_fonts=True))
                if data and (webp := to_webp(data, **options)):
                    pictures[style] = webp
            if len(pictures) < MIN_STYLES:
                continue
            subgroup, group = meta["subgroups"][str(entry["subgroup"])], group_names[entry["group"]]
            for style, webp in pictures.items():
                row = {"image": {"bytes": webp, "path": None}, "concept": concept, "subgroup": subgroup}
                rows.append(row | {"group": group, "style": style, "codepoints": code, "license": STYLES[style][1]})

    sizes = Counter(subgroup for _, subgroup in {(row["concept"], row["subgroup"]) for row in rows})
    rows = [row for row in rows if sizes[row["subgroup"]] >= MIN_CONCEPTS]
    features = datasets.Features({name: datasets.Value("string") for name in rows[0]} | {"image": datasets.Image()})
    args.output.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows, features=features).to_parquet(args.output)
    concepts = len({row["concept"] for row in rows})
    print(f"{args.output}: {len(rows)} pictures of {concepts} concepts, {args.output.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
