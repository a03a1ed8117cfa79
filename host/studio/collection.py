"""The collected pictures: a folder with a subfolder for each class, as `host train` takes it.

Every picture is a file as soon as it is taken, so nothing is lost when the page or the program is
closed. What is deleted moves to a folder beside it, from where it can be brought back.
"""

from __future__ import annotations

import io
import shutil
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

from PIL import Image

from model.cache import state_directory, write_atomically
from model.datasets.npz_files import usable_labels
from model.datasets.pictures import SUFFIXES
from model.errors import DataError, OutputError, reason

__all__ = ["Collection", "default_folder"]

#: Pixels of a picture's longer side: more than any network here looks at.
MOST_SIDE = 256
_MOST_PICTURES = 20_000
_MOST_CLASSES = 100
_LONGEST_NAME = 60
#: Pictures of a class that a page is told of.
_SHOWN = 300
#: What some systems do not allow in a file's name.
_FORBIDDEN = frozenset('<>:"/\\|?*')


def default_folder() -> Path:
    """Where pictures are collected unless a folder is given."""
    return state_directory() / "studio"


class Collection:
    """Classes and their pictures.

    Parameters
    ----------
    folder : Path
        ``pictures`` in it has the classes, ``deleted`` what was deleted. Made if it is not there.

    Raises
    ------
    OutputError
        If it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures = folder / "pictures"
        self._deleted = folder / "deleted"
        self._lock = threading.RLock()
        self._number = 0
        try:
            self.pictures.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be used: {reason(error)}") from error

    # What there is.

    def classes(self) -> dict[str, list[str]]:
        """The files of each class, classes in alphabetical order, files as they were taken."""
        with self._lock:
            return {
                entry.name: sorted(
                    file.name
                    for file in entry.iterdir()
                    if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
                )
                for entry in sorted(self.pictures.iterdir())
                if entry.is_dir() and not entry.name.startswith(".")
            }

    def summary(self) -> dict[str, Any]:
        """For the page: how many pictures each class has, and the files of the latest."""
        return {
            "folder": str(self.pictures),
            "classes": [
                {"name": name, "count": len(files), "pictures": files[-_SHOWN:]}
                for name, files in self.classes().items()
            ],
        }

    def path(self, name: str, file: str) -> Path:
        """A picture's file.

        Raises
        ------
        DataError
            If there is none.
        """
        found = self._class(name) / file
        if file.startswith(".") or Path(file).name != file or not found.is_file():
            raise DataError(f"{name}: there is no picture {file!r}")
        return found

    def _class(self, name: str) -> Path:
        if name not in self.classes():
            raise DataError(f"there is no class {name!r}")
        return self.pictures / name

    # Classes.

    def add_class(self, name: str) -> None:
        """Make a class; its name is a folder's name, and a line of a model's labels.

        Raises
        ------
        DataError
            If it can be no such name, or there is that class.
        """
        with self._lock:
            self._make(self._usable(name))

    def rename_class(self, name: str, to: str) -> None:
        """Raise DataError as `add_class` does."""
        with self._lock:
            source = self._class(name)
            if name.lower() != to.lower():
                self._usable(to)
            elif name != to:
                self._check(to)
            try:
                source.rename(self.pictures / to)
            except OSError as error:
                raise DataError(f"{name}: cannot be renamed: {reason(error)}") from error

    def delete_class(self, name: str) -> str:
        """Take a class away; gives what `restore` takes to bring it back."""
        with self._lock:
            return self._take_away(self._class(name))

    def _usable(self, name: str) -> str:
        self._check(name)
        there = self.classes()
        if name.lower() in (each.lower() for each in there):
            raise DataError(f"there is a class {name!r} already")
        if len(there) >= _MOST_CLASSES:
            raise DataError(f"there are {len(there)} classes; no more are possible")
        return name

    @staticmethod
    def _check(name: str) -> None:
        usable_labels("the collection", (name,))
        if len(name) > _LONGEST_NAME:
            raise DataError(f"a class's name has at most {_LONGEST_NAME} characters")
        if name.startswith(".") or name.endswith(".") or not name.isprintable():
            raise DataError(f"{name!r} cannot be the name of a folder")
        if _FORBIDDEN & set(name):
            raise DataError(f"{name!r} cannot be the name of a folder")

    def _make(self, name: str) -> Path:
        path = self.pictures / name
        try:
            path.mkdir()
        except OSError as error:
            raise DataError(f"{name}: cannot be made: {reason(error)}") from error
        return path

    # Pictures.

    def add(self, name: str, picture: Image.Image) -> str:
        """Keep a picture, at most 256 pixels a side; gives its file's name.

        Raises
        ------
        DataError
            If there is no such class, or no room.
        """
        kept = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
        kept.thumbnail((MOST_SIDE, MOST_SIDE))
        stream = io.BytesIO()
        kept.save(stream, "PNG", compress_level=1)
        with self._lock:
            folder = self._class(name)
            if sum(map(len, self.classes().values())) >= _MOST_PICTURES:
                raise DataError(f"there are {_MOST_PICTURES} pictures; no more are possible")
            file = self._new_name(folder)
            try:
                write_atomically(folder / file, stream.getvalue())
            except OSError as error:
                raise DataError(f"the picture cannot be kept: {reason(error)}") from error
            return file

    def _new_name(self, folder: Path) -> str:
        while True:
            self._number += 1
            name = f"{time.strftime('%Y%m%d-%H%M%S')}-{self._number:05}.png"
            if not (folder / name).exists():
                return name

    def delete(self, name: str, files: list[str]) -> str:
        """Take pictures away; gives what `restore` takes to bring them back."""
        with self._lock:
            paths = [self.path(name, file) for file in files]
            return self._take_away(*paths)

    def move(self, name: str, files: list[str], to: str) -> None:
        """Put pictures into another class."""
        with self._lock:
            target = self._class(to)
            for path in [self.path(name, file) for file in files]:
                free = target / path.name
                path.rename(target / self._new_name(target) if free.exists() else free)

    # What was deleted.

    def _take_away(self, *paths: Path) -> str:
        """Move files or a folder to where deleted ones are, under where they were."""
        self._number += 1
        mark = f"{time.strftime('%Y%m%d-%H%M%S')}-{self._number:05}"
        try:
            for path in paths:
                place = self._deleted / mark / path.relative_to(self.pictures)
                place.parent.mkdir(parents=True, exist_ok=True)
                path.rename(place)
        except OSError as error:
            raise DataError(f"cannot be deleted: {reason(error)}") from error
        return mark

    def restore(self, mark: str) -> None:
        """Bring back what was deleted under ``mark``.

        Raises
        ------
        DataError
            If there is nothing of that name.
        """
        with self._lock:
            place = self._deleted / mark
            if not mark or Path(mark).name != mark or mark.startswith(".") or not place.is_dir():
                raise DataError("there is nothing to bring back")
            for folder in place.iterdir():
                target = self.pictures / folder.name
                target.mkdir(exist_ok=True)
                for file in folder.iterdir():
                    if not (target / file.name).exists():
                        file.rename(target / file.name)
            shutil.rmtree(place, ignore_errors=True)

    def zipped(self) -> bytes:
        """All of it as a zip file, which unpacks to a folder that `host train` takes."""
        stream = io.BytesIO()
        # Pictures are compressed already.
        with self._lock, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            for name, files in self.classes().items():
                archive.writestr(f"pictures/{name}/", b"")
                for file in files:
                    archive.write(self.pictures / name / file, f"pictures/{name}/{file}")
        return stream.getvalue()
