"""Calls of our own functions that an argument's namespace could capture: `quoted(text)` of a std::string may find
std::quoted. Each is to be written with its namespace: `detail::quoted(text)`. What clang's syntax tree says."""
import collections
import json
import re
import sys


MEANT_TO_BE = {"tag_invoke"}  # Boost.JSON's: a type's own conversion stands in the type's namespace


class Finder:
    """`place` follows the tree in the order in which clang writes it, for it names a file only where that changes."""

    def __init__(self, include):
        self.include = str(include)
        self.file = None
        self.sources = {}
        self.found = collections.defaultdict(set)

    def place(self, location):
        result = None
        for part in ("spellingLoc", "expansionLoc"):
            if part in location:
                result = self.place(location[part])
        self.file = location.get("file", self.file)
        return (self.file, location["offset"]) if "offset" in location else result

    def walk(self, node, arguments=None):
        if not isinstance(node, dict):
            return
        if "loc" in node:
            self.place(node["loc"])
        begin = None
        if "range" in node:
            begin = self.place(node["range"]["begin"])
            self.place(node["range"]["end"])
        inner = node.get("inner", [])
        if arguments is not None and begin and can_be_captured(arguments):
            self.look_at(node, begin)
        is_call = node.get("kind") == "CallExpr"
        for i, child in enumerate(inner):
            if is_call and i == 0:
                self.walk(child, inner[1:])
            else:  # through the implicit cast of what is called
                self.walk(child, arguments if node.get("kind") == "ImplicitCastExpr" else None)

    def look_at(self, node, begin):
        file, offset = begin
        name = None
        if node["kind"] == "DeclRefExpr" and node["referencedDecl"]["kind"] == "FunctionDecl":
            name = node["referencedDecl"].get("name")
        elif node["kind"] == "UnresolvedLookupExpr" and node.get("usesADL"):
            name = node.get("name")
        if name is None or name in MEANT_TO_BE or not re.fullmatch(r"[A-Za-z]\w*", name) or not file.startswith(self.include):
            return
        if file not in self.sources:
            self.sources[file] = open(file, "rb").read()
        source = self.sources[file]
        if source[offset:offset + len(name)] == name.encode():  # else a namespace stands there
            line = source[:offset].count(b"\n") + 1
            self.found[file.removeprefix(self.include).lstrip("/")].add((line, offset, name))


BUILTIN = re.compile(r"(const |unsigned |signed |volatile )*(bool|char|short|int|long|long long|float|double|void)[ *&]*"
                     r"(const)?(\[\d*\])?")


def can_be_captured(arguments):
    """A number or a text has no namespace, and a lambda has ours."""
    def has_namespace(argument):
        if argument.get("kind") in ("LambdaExpr", "StringLiteral"):
            return False
        kind = argument.get("type", {})
        return not BUILTIN.fullmatch(kind.get("desugaredQualType", kind.get("qualType", "")).strip())

    return any(has_namespace(argument) for argument in arguments)


def findings(tree, include):
    """`tree`: what clang's -ast-dump=json says, one document a declaration. Lines like "key.hpp:12: quoted"."""
    finder = Finder(include)
    decoder = json.JSONDecoder()
    start = re.compile(r"^\{", re.MULTILINE)
    at = 0
    sys.setrecursionlimit(10_000)
    while found := start.search(tree, at):
        document, at = decoder.raw_decode(tree, found.start())
        finder.walk(document)
    return [f"{file}:{line}: {name}" for file, places in sorted(finder.found.items())
            for line, _, name in sorted(places)]
