"""The data card for machines: Croissant 1.1 JSON-LD (mlcommons.org/croissant/1.1) of files read and tables made.

Source files are file objects with their sha256. Each table is a set of the Parquet files of one Delta version, named
relative to the state folder: put beside them there, the document loads.
"""

import json
from pathlib import Path
from typing import Any

import polars as pl

from pref_assets.credentials import without_credentials
from pref_assets.home import Home
from pref_assets.lineage.facts import STAGE, TABLES, Facts
from pref_assets.pairs.schema import Column, Table

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
RECORD_SETS = ("prompts", "completions", "pairs")
"""Tables that are described field by field."""
_ID_OF = {"prompt_id": "prompts", "chosen_id": "completions", "rejected_id": "completions"}
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_FORMATS = {
    ".jsonl": "application/jsonlines",
    ".ndjson": "application/jsonlines",
    ".json": "application/json",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".parquet": "application/x-parquet",
    ".zip": "application/zip",
    ".gz": "application/gzip",
    ".arrow": "application/vnd.apache.arrow.file",
    ".feather": "application/vnd.apache.arrow.file",
}
_OTHER_FORMAT = "application/octet-stream"


def croissant(facts: Facts, home: Home) -> dict[str, Any]:
    """The document, JSON-serialisable. Equal facts give an equal document; credentials in addresses are taken out.

    Its date is when the last of the files was first seen. Sources that are not files, such as hub data sets, have no
    hash of bytes and are named under ``isBasedOn``.
    """
    sources = facts.about.sources.values()
    licences = sorted({source.licence for source in sources if source.licence})
    based_on = sorted({source.homepage or source.location for source in sources})
    tables = [name for name in RECORD_SETS if name in facts.tables]
    document: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": facts.about.pipeline,
        "description": facts.about.description or f"Preference pairs of the pipeline {facts.about.pipeline}.",
        "version": f"{facts.tables['pairs'].version + 1}.0.0",
        "isBasedOn": based_on,
        "distribution": [*_files(facts), *(_file_set(facts, home, name) for name in tables)],
        "recordSet": [_record_set(facts, TABLES[name], set(tables)) for name in tables],
    }
    if licences:
        document["license"] = licences
    if facts.files:
        document["datePublished"] = max(file.registered for file in facts.files)[: len("2026-01-31")]
    cleaned: dict[str, Any] = json.loads(without_credentials(json.dumps(document, ensure_ascii=False)))
    return cleaned


def written(document: dict[str, Any]) -> str:
    """The document as text."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _files(facts: Facts) -> list[dict[str, Any]]:
    found = []
    for file in facts.files:
        if file.sha256 is None:
            continue
        each: dict[str, Any] = {
            "@type": "cr:FileObject",
            "@id": f"{file.source}/{file.batch}",
            "name": Path(file.uri).name,
            "description": f"Batch {file.batch} of source {file.source}.",
            "contentUrl": file.uri,
            "encodingFormat": _encoding(file.uri),
            "sha256": file.sha256,
        }
        if file.size is not None:
            each["contentSize"] = f"{file.size} B"
        found.append(each)
    for name, source in facts.about.sources.items():
        for number, (uri, sha256) in enumerate(source.beside, 1):
            found.append(
                {
                    "@type": "cr:FileObject",
                    "@id": f"{name}/beside-{number}",
                    "name": Path(uri).name,
                    "description": f"Read beside the rows of source {name}.",
                    "contentUrl": uri,
                    "encodingFormat": _encoding(uri),
                    "sha256": sha256,
                }
            )
    return found


def _encoding(uri: str) -> str:
    return _FORMATS.get(Path(uri).suffix.lower(), _OTHER_FORMAT)


def _file_set(facts: Facts, home: Home, name: str) -> dict[str, Any]:
    from deltalake import DeltaTable

    snapshot = facts.tables[name]
    version = DeltaTable(str(snapshot.path), version=snapshot.version)
    return {
        "@type": "cr:FileSet",
        "@id": f"{name}-files",
        "name": f"{name}-files",
        "description": f"Parquet files of version {snapshot.version} of the Delta table {name}, relative to the state "
        f"folder; content hash {snapshot.content_hash}.",
        "encodingFormat": "application/x-parquet",
        "includes": sorted(Path(uri).relative_to(home.root).as_posix() for uri in version.file_uris()),
    }


def _record_set(facts: Facts, table: Table, described: set[str]) -> dict[str, Any]:
    key = [{"@id": f"{table.name}/{name}"} for name in table.key]
    return {
        "@type": "cr:RecordSet",
        "@id": table.name,
        "name": table.name,
        "description": f"Delta table {STAGE}/{table.name}: {facts.tables[table.name].rows} rows.",
        "key": key[0] if len(key) == 1 else key,
        "field": [_field(table, name, column, described) for name, column in table.columns.items()],
    }


def _field(table: Table, name: str, column: Column, described: set[str]) -> dict[str, Any]:
    field: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": f"{table.name}/{name}",
        "name": name,
        "description": column.description,
    }
    dtype: Any = column.dtype
    if isinstance(dtype, pl.List):
        field |= {"isArray": True, "arrayShape": "-1"}
        dtype = dtype.inner
    source = {"fileSet": {"@id": f"{table.name}-files"}, "extract": {"column": name}}
    if isinstance(dtype, pl.Struct):
        field["subField"] = [
            {
                "@type": "cr:Field",
                "@id": f"{table.name}/{name}/{inner.name}",
                "name": inner.name,
                "dataType": _type(inner.dtype),
                "source": {**source, "transform": {"jsonPath": inner.name}},
            }
            for inner in dtype.fields
        ]
        return field
    field |= {"dataType": _type(dtype), "source": source}
    target = _ID_OF.get(name)
    if target in described and target != table.name:
        field["references"] = {"field": {"@id": f"{target}/{target.removesuffix('s')}_id"}}
    return field


def _type(dtype: Any) -> str:
    if dtype == pl.String:
        return "sc:Text"
    if dtype == pl.Boolean:
        return "sc:Boolean"
    return "sc:Float" if dtype.is_float() else "sc:Integer"
