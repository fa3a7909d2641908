"""What a set of images can be given as: a folder, a manifest, a tar file, or an address such as ``s3://bucket/folder``."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from blemish.errors import InputError, shown
from blemish.images.finding import remote
from blemish.images.finding._tar import TarIndex, is_tar, read_index, remembered_index
from blemish.images.finding.formats import HEAD_BYTES, sniff
from blemish.images.finding.listing import Listing, NoImagesError, chosen, is_hidden, list_images, reason_by_name
from blemish.images.finding.manifest import is_manifest, read_manifest
from blemish.images.finding.places import Member, Place, Url, as_place, open_place
from blemish.types import Skipped


def list_set(source: Path | Url, *, exclude: Collection[Path] = ()) -> Listing:
    """The images of a folder, a manifest, a tar file, or what an address names.

    Names are relative to the folder, to the folder of the manifest or tar file, or to the address. Images in a tar file are
    named ``shard.tar/name.png``. The tar files of a folder are read if it holds no other images.

    Args:
        source: where the images are.
        exclude: folders inside a folder that are not entered.

    Raises:
        InputError: there are no images, or they cannot be listed.
        MissingDependencyError: a package for addresses is missing.
    """
    if isinstance(source, Url):
        return _list_address(source)
    if is_manifest(source):
        return list_named(read_manifest(source), source.parent)
    if is_tar(source.name) and not source.is_dir():
        return _list_archives(source, [(source.name, source)], [])
    try:
        return list_images(source, exclude=exclude)
    except NoImagesError as error:
        archives = [one for one in error.passed_over if is_tar(one.path) and not is_hidden(one.path)]
        if not archives:
            raise
        others = [one for one in error.passed_over if one not in archives]
        return _list_archives(source, [(one.path, source / one.path) for one in archives], others)


def folder_of(source: str | Path | Url) -> Path | Url:
    """What the names of a set are relative to: see :func:`list_set`."""
    place = as_place(source) if isinstance(source, str) else source
    if isinstance(place, Url):
        return place.parent if is_tar(place.name) else place
    return place.parent if is_manifest(place) or (is_tar(place.name) and not place.is_dir()) else place


def is_set(source: Path | Url) -> bool:
    """Whether there is something that :func:`list_set` can read, as far as a look at its name tells."""
    if isinstance(source, Url):
        return remote.exists(source.text)
    return source.is_dir() or (source.is_file() and (is_manifest(source) or is_tar(source.name)))


def locate(name: str, base: Path | Url) -> Place:
    """The place of an image, by its name and what the name is relative to, see :func:`folder_of`.

    Raises:
        InputError: the name is that of a file inside a tar file, which does not hold it or cannot be read.
    """
    place = as_place(name, base)
    parts = name.split("/")
    for at, part in enumerate(parts[:-1], start=1):
        if not is_tar(part):
            continue
        archive, inner = as_place("/".join(parts[:at]), base), "/".join(parts[at:])
        if archive.is_file() if isinstance(archive, Path) else remote.is_object(archive.text):
            member = remembered_index(archive).members.get(inner)
            if member is None:
                raise InputError(f"{shown(archive)}: holds no complete file {shown(inner)}; check the name")
            return member
    return place


def list_named(names: Iterable[str], base: Path | Url) -> Listing:
    """The images with these names, in this order; see :func:`locate`."""
    listing = Listing()
    for name in names:
        try:
            place = locate(name, base)
        except InputError as error:
            listing.skipped.append(Skipped(name, str(error)))
        else:
            listing.images.append(place)
            listing.names.append(name)
    return listing


def _list_address(address: Url) -> Listing:
    """What is below an address. Objects are images by their suffix alone, because a look at each would cost a request."""
    if is_manifest(Path(address.name)):
        raise InputError(
            f"{shown(address)}: a manifest must be a file of this machine; download it, it can name addresses"
        )
    try:
        names = remote.find(address.text)
    except FileNotFoundError:
        names = {}
    if list(names) == [""] and is_tar(address.name):
        return _list_archives(address, [(address.name, Url(address.text, names[""]))], [])
    if not any(names):
        raise InputError(f"{shown(address)}: holds no images; give the address of a folder or of a tar file")
    places = {name: Url((address / name).text, version) for name, version in names.items()}
    seen: list[tuple[str, Place, str | None]] = [(name, place, reason_by_name(name)) for name, place in places.items()]
    archives = [(name, place) for name, place in places.items() if is_tar(name)]
    if archives and all(reason is not None for *_, reason in seen):
        others = [Skipped(name, reason or "") for name, _, reason in seen if not is_tar(name)]
        return _list_archives(address, archives, others)
    return chosen(address, seen)


def _list_archives(
    where: Path | Url, archives: Iterable[tuple[str, Path | Url]], passed_over: Collection[Skipped]
) -> Listing:
    """The images in tar files, given with their names. A tar file that cannot be read is skipped unless it is the only one."""
    archives, seen, skipped = list(archives), list[tuple[str, Place, str | None]](), list[Skipped]()
    passed_over = list(passed_over)
    for name, archive in archives:
        try:
            index = read_index(archive, name)
        except InputError as error:
            if len(archives) == 1:
                raise
            skipped.append(Skipped(name, str(error)))
            continue
        seen += _judged(name, index)
        skipped += index.cut
        passed_over += index.passed_over
    try:
        found = chosen(where, seen)
    except NoImagesError as error:
        if skipped:
            raise InputError(f"{skipped[0].reason} ({shown(where)} holds no image that can be read)") from error
        raise
    found.passed_over = sorted([*found.passed_over, *passed_over], key=lambda one: one.path)
    found.skipped = skipped
    return found


def _judged(label: str, index: TarIndex) -> list[tuple[str, Place, str | None]]:
    """Name and place of each file, and the reason to pass it over; a file without the suffix of an image is looked at."""
    judged: list[tuple[str, Place, str | None]] = []
    for name, member in index.members.items():
        reason = reason_by_name(name)
        if reason is not None and not is_hidden(name) and _is_image(member):
            reason = None
        judged.append((f"{label}/{name}", member, reason))
    return judged


def _is_image(member: Member) -> bool:
    if isinstance(member.archive, Url):  # a look would cost a request
        return False
    try:
        with open_place(member) as handle:
            return sniff(handle.read(HEAD_BYTES)) is not None
    except (OSError, InputError):
        return False
